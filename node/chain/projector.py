"""Keeps the read models: their rows in a database of their own, a cursor for each, and each made anew on demand.

Everything here can be lost and is then made again from the log, so nothing is synced. One task brings all projections
up to every new block, in a thread. While nobody reads, blocks that come quickly are gathered, for taken in together
they cost less; whoever comes to read waits for what was gathered. Making one anew happens beside that, in a thread of
its own and under a new generation of keys; callers are answered from the old rows until the new ones have caught up,
then those go.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog
import trio

from consensus.chain import ChainReader
from consensus.ledger.event_log import EventLog, Logged, read_batch
from consensus.ledger.machine import Ledger
from consensus.projections import PROJECTIONS, Projection
from consensus.projections.rows import end_of, subjects_of
from gossip.codec import DecodeError, Natural, Wire, decode, encode
from gossip.effects import KeyValueReader, Write
from gossip.identity import Ed25519Verifier
from node.storage.store import FrozenStore, LevelStore, StoreError, StoreFault

log = structlog.get_logger(__name__)

_META = b"\x00"
_BATCH_ROWS = 20_000
_RECENT_ROWS = 16_384
_THREADS = 2
_NOT_BEGUN = -1
_LEAST_S = 0.05
_UNREAD_S = 2.0
_READ_S = 5.0
_CATCHING_UP_S = 0.5

_T = TypeVar("_T")

Listener = Callable[[str, frozenset[bytes]], None]
"""Hears which subjects of which projection have changed; the empty set stands for all of them."""


class Feed(Protocol):
    """How far the log is on disk."""

    @property
    def durable_height(self) -> int:
        """The height of the last block on disk."""

    async def until_durable(self, height: int) -> None:
        """Return when the block at this height is on disk."""


class _Meta(Wire, frozen=True):
    """What stands beside the rows; written with them."""

    version: Natural
    generation: Natural
    height: Natural


@dataclass(frozen=True, slots=True)
class _Place:
    """Which keys hold the rows, and up to which block they are made."""

    generation: int
    height: int = _NOT_BEGUN


@dataclass(frozen=True, slots=True)
class Standing:
    """A projection at a glance; `rebuilt_to` is how far it is while it is being made anew."""

    name: str
    version: int
    height: int
    rebuilt_to: int | None


def open_projections(path: Path) -> LevelStore:
    """The database of the read models, new if it was not there or is damaged. Raises `StoreError`."""
    try:
        return LevelStore(path, create=True, packed=False)
    except StoreError as error:
        if error.fault is not StoreFault.DAMAGED:
            raise
        log.warning("the read models are made anew", reason=str(error))
        shutil.rmtree(path)
        return LevelStore(path, create=True, packed=False)


class Projector:
    """See the module. `chain` is read from threads: the database itself, not what is staged above it.

    `ledger` gives the state as it is now: what a chain that began with a snapshot is taken from.
    """

    def __init__(
        self, store: LevelStore, chain: KeyValueReader, ledger: Callable[[], Ledger], feed: Feed
    ) -> None:
        self._store, self._ledger, self._feed = store, ledger, feed
        self._recent = _Recent(store)
        self._log = EventLog(chain)
        self._first_height = ChainReader(chain).first_height()
        self._projections = {one.name: one for one in PROJECTIONS}
        self._places = {one.name: self._stored_place(one) for one in PROJECTIONS}
        self._rebuilding: dict[str, int] = {}
        self._wanted: list[str] = []
        self._wish = trio.Event()
        self._moved = trio.Event()
        self._called = trio.Event()
        self._read_until = -math.inf
        """Until then somebody is taken to be reading."""
        self._turn = trio.Lock()
        self._limiter = trio.CapacityLimiter(_THREADS)
        self._listeners: list[Listener] = []
        for name, place in self._places.items():
            if place.height == _NOT_BEGUN:
                self._places[name] = self._begun(name, place.generation)
                self._store.write([self._meta(name, self._places[name])], sync=False)

    def _stored_place(self, projection: Projection) -> _Place:
        raw = self._store.get(_META + projection.name.encode())
        if raw is None:
            return _Place(0)
        try:
            meta = decode(raw, _Meta)
        except DecodeError:
            return _Place(0)
        reaches = self._first_height - 1 <= meta.height <= self._feed.durable_height
        if meta.version != projection.version or not reaches:
            return _Place(meta.generation + 1)
        return _Place(meta.generation, meta.height)

    @property
    def names(self) -> tuple[str, ...]:
        """The projections there are."""
        return tuple(self._projections)

    @property
    def height(self) -> int:
        """Every projection is made up to this block."""
        return min(place.height for place in self._places.values())

    @property
    def log_height(self) -> int:
        """The log is on disk up to this block."""
        return self._feed.durable_height

    def standing(self) -> list[Standing]:
        """All projections."""
        return [
            Standing(
                name,
                projection.version,
                self._places[name].height,
                self._rebuilding.get(name),
            )
            for name, projection in self._projections.items()
        ]

    def reader(self, name: str) -> StandingRows:
        """The rows of a projection as they are now, all after one and the same block."""
        frozen = self._store.as_now()
        raw = frozen.get(_META + name.encode())
        assert raw is not None, "written before there is anything to read"
        meta = decode(raw, _Meta)
        return StandingRows(frozen, _prefix(name, meta.generation), meta.height)

    def height_of(self, name: str) -> int:
        """The block up to which a projection is made, as far as listeners have been told."""
        return self._places[name].height

    async def asked(self) -> None:
        """Somebody is about to read. If nobody has lately, return when what was gathered meanwhile is taken in.

        Rows that are far behind, since they are made anew, are not waited for: they say after which block they hold.
        """
        now = trio.current_time()
        was_read, self._read_until = now < self._read_until, now + _READ_S
        if was_read:
            return
        height = self._feed.durable_height
        self._called.set()
        with trio.move_on_after(_CATCHING_UP_S):
            while self.height < height:
                await self._moved.wait()

    async def moved(self) -> None:
        """Return when rows have changed again, or have been made anew."""
        await self._moved.wait()

    def listen(self, listener: Listener) -> None:
        """Call `listener` after rows have changed."""
        self._listeners.append(listener)

    def rebuild(self, name: str) -> None:
        """Make a projection anew, beside everything else; nothing if that is under way."""
        if name not in self._rebuilding:
            self._rebuilding[name] = 0
            self._wanted.append(name)
            self._wish.set()

    async def run(self) -> None:
        """Serve until cancelled. Raises `StoreError`, and `DecodeError` if the log is damaged."""
        async with trio.open_nursery() as first:
            for name, place in self._places.items():
                first.start_soon(self._in_thread, self._drop_but, name, place.generation)
                first.start_soon(self._catch_up, name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow)
            while True:
                self._wish = trio.Event()
                for name in self._wanted:
                    nursery.start_soon(self._rebuild, name)
                self._wanted.clear()
                await self._wish.wait()

    async def _catch_up(self, name: str) -> None:
        """Begin, and go on where the node stopped; several in parallel."""
        while self._places[name].height < self._feed.durable_height:
            behind = {name: self._places[name]}
            changes = await self._in_thread(self._advance, behind, self._feed.durable_height)
            self._places[name], subjects = changes[name]
            self._tell(name, subjects)

    async def _follow(self) -> None:
        while True:
            await self._feed.until_durable(self.height + 1)
            async with self._turn:
                before = dict(self._places)
                changes = await self._in_thread(self._advance, before, self._feed.durable_height)
                for name, (place, _) in changes.items():
                    self._places[name] = place
            for name, (_, subjects) in changes.items():
                self._tell(name, subjects)
            await self._rest()

    async def _rest(self) -> None:
        """Small blocks that come quickly are taken in together, more if nobody reads; one after a pause at once."""
        await trio.sleep(_LEAST_S)
        self._called = trio.Event()
        if trio.current_time() >= self._read_until:
            with trio.move_on_after(_UNREAD_S - _LEAST_S):
                await self._called.wait()

    def _begun(self, name: str, generation: int) -> _Place:
        """The rows of what was before the first event."""
        projection, ledger = self._projections[name], self._ledger()
        height = 0
        if self._first_height > 1:
            height = ledger.height if projection.is_of_state else self._first_height
        else:
            ledger = Ledger(ledger.genesis, Ed25519Verifier())
        place = _Place(generation, height)
        draft = _Draft(self._store, _prefix(name, generation))
        projection.begin(draft, ledger)
        self._store.write(draft.writes(), sync=False)
        return place

    async def _rebuild(self, name: str) -> None:
        before = self._places[name].generation
        await self._in_thread(self._drop_but, name, before)
        place = self._begun(name, before + 1)
        while True:
            place = await self._in_thread(
                self._advance_beside, name, place, self._feed.durable_height
            )
            self._rebuilding[name] = place.height
            async with self._turn:
                if place.height >= self._places[name].height:
                    self._store.write([self._meta(name, place)], sync=False)
                    self._places[name] = place
                    break
        self._tell(name, frozenset())
        log.info("projection made anew", name=name, height=place.height)
        await self._in_thread(self._drop_but, name, place.generation)
        del self._rebuilding[name]
        self._tell(name, frozenset())

    async def _in_thread(self, work: Callable[..., _T], *given: object) -> _T:
        return await trio.to_thread.run_sync(work, *given, limiter=self._limiter)

    def _tell(self, name: str, subjects: frozenset[bytes]) -> None:
        for listener in self._listeners:
            listener(name, subjects)
        self._moved.set()
        self._moved = trio.Event()

    def catch_up_now(self) -> None:
        """Bring all projections up to the newest block at once, in this thread; before `run`."""
        while self.height < self._feed.durable_height:
            changes = self._advance(self._places, self._feed.durable_height)
            self._places |= {name: place for name, (place, _) in changes.items()}

    # In threads

    def _advance(
        self, places: Mapping[str, _Place], until: int
    ) -> dict[str, tuple[_Place, frozenset[bytes]]]:
        """Take in blocks; the new places, and what changed. Those at one height go on together."""
        found: dict[str, tuple[_Place, frozenset[bytes]]] = {}
        for height in sorted({one.height for one in places.values() if one.height < until}):
            group = {name: one for name, one in places.items() if one.height == height}
            found |= self._advance_together(group, height, until)
        return found

    def _advance_together(
        self, places: Mapping[str, _Place], height: int, until: int
    ) -> dict[str, tuple[_Place, frozenset[bytes]]]:
        drafts = {
            name: _Draft(self._recent, _prefix(name, place.generation))
            for name, place in places.items()
        }
        reached = self._taken_in(drafts, height, until)
        writes: list[Write] = []
        found = {}
        for name, place in places.items():
            now = replace(place, height=reached)
            writes += (*drafts[name].writes(), self._meta(name, now))
            found[name] = now, subjects_of(drafts[name].changes)
        self._recent.write(writes)
        return found

    def _advance_beside(self, name: str, place: _Place, until: int) -> _Place:
        """The same for rows that nobody is answered from yet."""
        draft = _Draft(self._store, _prefix(name, place.generation))
        reached = self._taken_in({name: draft}, place.height, until)
        self._store.write(draft.writes(), sync=False)
        return replace(place, height=reached)

    def _taken_in(self, drafts: Mapping[str, _Draft], height: int, until: int) -> int:
        """Apply the blocks up to `until`, or as many as make a good batch; each is decoded once for all."""
        takers: dict[type[Any], list[Callable[[Logged], None]]] = {}
        newest: list[_Newest] = []
        for name, draft in drafts.items():
            projection = self._projections[name]
            take: Callable[[Logged], None] = partial(projection.apply, draft)
            if projection.subject is not None:
                newest.append(_Newest(projection.subject, take))
                take = newest[-1].take
            for kind in projection.kinds:
                takers.setdefault(kind, []).append(take)
        kinds = frozenset(takers)
        bounded: tuple[Sized, ...] = (*drafts.values(), *newest)
        while height < until and sum(map(len, bounded)) < _BATCH_ROWS:
            height += 1
            raw = self._log.raw(height)
            for logged in () if raw is None else read_batch(raw, kinds):
                for take in takers[type(logged.event)]:
                    take(logged)
        for one in newest:
            one.apply()
        return height

    def _meta(self, name: str, place: _Place) -> Write:
        version = self._projections[name].version
        return _META + name.encode(), encode(_Meta(version, place.generation, place.height))

    def _drop_but(self, name: str, generation: int) -> None:
        """Delete the rows of all other generations."""
        kept, everything = _prefix(name, generation), _prefix(name)
        for start, stop in ((everything, kept), (end_of(kept), end_of(everything))):
            while pairs := self._store.range(start, stop, _BATCH_ROWS):
                self._store.write([(key, None) for key, _ in pairs], sync=False)


def _prefix(name: str, generation: int | None = None) -> bytes:
    number = b"" if generation is None else generation.to_bytes(4, "big")
    return name.encode() + _META + number


class _Recent:
    """Rows that were asked for lately and are asked for again when they change, such as those of busy accounts."""

    def __init__(self, store: LevelStore) -> None:
        self._store = store
        self._rows: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """A row as it is in the database."""
        rows = self._rows
        if key in rows:
            return rows[key]
        if len(rows) >= _RECENT_ROWS:
            rows.clear()
        found = rows[key] = self._store.get(key)
        return found

    def write(self, writes: Sequence[Write]) -> None:
        """Put rows into the database; not synced."""
        self._store.write(writes, sync=False)
        rows = self._rows
        rows.update([one for one in writes if one[0] in rows])


class StandingRows:
    """The rows of one generation of one projection after the block at `height`, whatever is written meanwhile."""

    def __init__(self, store: FrozenStore, prefix: bytes, height: int) -> None:
        self._store, self._prefix, self.height = store, prefix, height

    def get(self, key: bytes) -> bytes | None:
        """See `RowReader.get`."""
        return self._store.get(self._prefix + key)

    def range(self, start: bytes, stop: bytes, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """See `RowReader.range`."""
        cut = len(self._prefix)
        pairs = self._store.range(self._prefix + start, self._prefix + stop, limit)
        return [(key[cut:], value) for key, value in pairs]


class _Newest:
    """Of some blocks the last event of each subject, for a projection that needs no others."""

    def __init__(self, subject_of: Callable[[Any], bytes], apply: Callable[[Logged], None]) -> None:
        self._subject_of, self._apply = subject_of, apply
        self._events: dict[bytes, Logged] = {}

    def __len__(self) -> int:
        return len(self._events)

    def take(self, logged: Logged) -> None:
        """In place of what came before it."""
        self._events[self._subject_of(logged.event)] = logged

    def apply(self) -> None:
        """All blocks are taken in."""
        for logged in self._events.values():
            self._apply(logged)


class _Draft:
    """Rows with the changes of some blocks that are not written yet."""

    def __init__(self, rows: LevelStore | _Recent, prefix: bytes) -> None:
        self._rows, self._prefix = rows, prefix
        self.changes: dict[bytes, bytes | None] = {}

    def __len__(self) -> int:
        return len(self.changes)

    def get(self, key: bytes) -> bytes | None:
        """See `Rows.get`."""
        return self.changes[key] if key in self.changes else self._rows.get(self._prefix + key)

    def put(self, key: bytes, value: bytes | None) -> None:
        """See `Rows.put`."""
        self.changes[key] = value

    def writes(self) -> list[Write]:
        """The changes as the database takes them."""
        prefix = self._prefix
        return [(prefix + key, value) for key, value in self.changes.items()]
