"""Requests that nothing can serve now, kept on disk until something can.

A caller that would rather wait than be refused gets an id and a position. What waits is ordered by
priority, then by arrival; one whose deadline passes fails, one that is cancelled is gone. When a
place for its model is back, the first in the queue is tried, and only so many at once as may be
under way. A restart finds everything again: what was under way waits anew, in its old place.

What every server failed at, by no fault of the caller's, is a person's to decide: it stands as escalated until somebody
has it tried again, answers it, or gives it up, or its deadline passes.

    waiting -> running -> done | failed        waiting -> cancelled | failed (deadline)
              running -> waiting               (nothing could serve it after all)
              running -> escalated -> waiting | done | cancelled | failed (deadline)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Literal, assert_never

import msgspec
from msgspec import structs

from gossip.codec import Bytes32, Digest, Natural, Sentence, Wire, decode, encode
from gossip.effects import CancelTimer, KeyValueReader, Persist, SetTimer, Store

MAX_WAITING = 1_000
MAX_WAITING_BYTES = 256 * 2**20
KEPT_ENDED = 1_000
KEPT_BYTES = 256 * 2**20
AT_ONCE = 4
RETRY_MS = 5_000
MAX_PRIORITY = 9

_ENTRY, _ASKED, _ANSWER = b"queue/entry/", b"queue/asked/", b"queue/answer/"


class QueueState(Enum):
    """Where a request stands."""

    WAITING = "waiting"
    RUNNING = "running"
    ESCALATED = "escalated"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = (QueueState.DONE, QueueState.FAILED, QueueState.CANCELLED)


class Queued(Wire, frozen=True):
    """A request in the queue; what was asked and answered stands beside it.

    `why` says why it could not be served last time, or failed.
    """

    id: Bytes32
    method: Literal["chat", "text", "embed"]
    model: Annotated[str, msgspec.Meta(max_length=512)]
    priority: Annotated[int, msgspec.Meta(ge=0, le=MAX_PRIORITY)]
    since_ms: Natural
    deadline_ms: Natural
    number: Natural
    size_bytes: Natural
    state: QueueState = QueueState.WAITING
    tries: Natural = 0
    why: Sentence = ""
    server: Annotated[str, msgspec.Meta(max_length=128)] = ""


@dataclass(frozen=True, slots=True)
class Enqueue:
    """A request that nothing can serve now; `asked` is what is kept of it."""

    entry: Queued
    asked: bytes


@dataclass(frozen=True, slots=True)
class PlacesChanged:
    """The models that can be asked now, as far as the shell knows; `auto` among them if any writes."""

    models: frozenset[str]


@dataclass(frozen=True, slots=True)
class Served:
    """A request that was under way has its answer."""

    id: Digest
    answer: bytes
    server: str


@dataclass(frozen=True, slots=True)
class NotServed:
    """It failed: if `may_wait`, as nothing could serve it just now; if `escalates`, by no fault of its own."""

    id: Digest
    reason: str
    may_wait: bool
    escalates: bool = False


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Its caller wants it no more."""

    id: Digest


@dataclass(frozen=True, slots=True)
class TriedAgain:
    """A person wants an escalated request to be tried again."""

    id: Digest


QueueEvent = Enqueue | PlacesChanged | Served | NotServed | Withdrawn | TriedAgain


@dataclass(frozen=True, slots=True)
class Serve:
    """Try this request now; comes back as `Served` or `NotServed`."""

    entry: Queued
    asked: bytes


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Stop what is under way for this request."""

    id: Digest


QueueEffect = Persist | SetTimer | CancelTimer | Serve | GiveUp


class WaitingRoom:
    """The queue of one node."""

    TIMERS = frozenset({"deadline", "drain"})

    def __init__(self, reader: KeyValueReader) -> None:
        self._reader = reader
        kept = sorted(
            (decode(raw, Queued) for _, raw in reader.scan(_ENTRY)), key=lambda one: one.number
        )
        self._entries = {Digest(one.id): one for one in kept}
        self._next = 1 + max((one.number for one in kept), default=0)
        self._places: frozenset[str] = frozenset()
        self._not_before_ms: dict[Digest, int] = {}

    # Questions

    def find(self, name: Digest) -> Queued | None:
        """One request."""
        return self._entries.get(name)

    def answer(self, name: Digest) -> bytes | None:
        """What was answered, while it is kept."""
        return self._reader.get(_ANSWER + name)

    def line(self) -> Sequence[Queued]:
        """Those that wait, in their order."""
        waiting = (one for one in self._entries.values() if one.state is QueueState.WAITING)
        return sorted(waiting, key=lambda one: (-one.priority, one.number))

    def all(self) -> Sequence[Queued]:
        """Under way, waiting in their order, for a person to decide, then what has ended, the newest first."""
        running = [one for one in self._entries.values() if one.state is QueueState.RUNNING]
        ended = [one for one in self._entries.values() if one.state in ENDED]
        return [*running, *self.line(), *self.escalated(), *reversed(ended)]

    def escalated(self) -> Sequence[Queued]:
        """Those that a person has to decide about, the oldest first."""
        return [one for one in self._entries.values() if one.state is QueueState.ESCALATED]

    def position(self, name: Digest) -> int | None:
        """From 1; None for what does not wait."""
        return next((at for at, one in enumerate(self.line(), 1) if one.id == name), None)

    def refusal(self, size_bytes: int) -> str | None:
        """Why a request of this size can't wait here, or None."""
        open_ones = [one for one in self._entries.values() if one.state not in ENDED]
        if len(open_ones) >= MAX_WAITING:
            return f"{MAX_WAITING} requests wait already"
        if sum(one.size_bytes for one in open_ones) + size_bytes > MAX_WAITING_BYTES:
            return f"the requests that wait hold {MAX_WAITING_BYTES:,} bytes already"
        return None

    # Events

    def on_started(self, now_ms: int) -> list[QueueEffect]:
        """What was under way waits again; the shell says what can be asked."""
        out: list[QueueEffect] = []
        for one in list(self._entries.values()):
            if one.state is QueueState.RUNNING:
                out += self._put(structs.replace(one, state=QueueState.WAITING))
            if one.state not in ENDED:
                out.append(_deadline(one, now_ms))
        return out

    def handle(self, now_ms: int, event: QueueEvent) -> list[QueueEffect]:
        """Take one event."""
        match event:
            case Enqueue():
                out = self._enqueue(now_ms, event)
            case PlacesChanged():
                self._places = event.models
                out = []
            case Served():
                out = self._on_served(event)
            case NotServed():
                out = self._on_not_served(now_ms, event)
            case Withdrawn():
                out = self._stop(event.id, QueueState.CANCELLED, "cancelled by its owner")
            case TriedAgain():
                out = self._on_tried_again(event)
            case _:
                assert_never(event)
        return [*out, *self._drain(now_ms)]

    def on_timer(self, now_ms: int, name: str) -> list[QueueEffect]:
        """One of `TIMERS`; they are set with `queue/` in front."""
        what, _, text = name.partition("/")
        if what == "drain":
            return self._drain(now_ms)
        task = Digest(bytes.fromhex(text))
        out = self._stop(task, QueueState.FAILED, "its deadline passed before it was served")
        return [*out, *self._drain(now_ms)]

    def _enqueue(self, now_ms: int, event: Enqueue) -> list[QueueEffect]:
        entry = structs.replace(event.entry, number=self._next, size_bytes=len(event.asked))
        self._next += 1
        kept = Persist(Store.WORK, ((_ASKED + entry.id, event.asked),))
        self._not_before_ms[Digest(entry.id)] = now_ms + RETRY_MS
        wake = SetTimer("queue/drain", RETRY_MS)
        return [kept, *self._put(entry), _deadline(entry, now_ms), wake]

    def _drain(self, now_ms: int) -> list[QueueEffect]:
        """Try those at the front whose model can be asked; nobody behind overtakes for the same model."""
        out: list[QueueEffect] = []
        running = sum(one.state is QueueState.RUNNING for one in self._entries.values())
        held: set[str] = set()
        for one in self.line():
            if running >= AT_ONCE:
                break
            name = Digest(one.id)
            if one.model.partition("@")[0] not in self._places or one.model in held:
                continue
            wait_ms = self._not_before_ms.get(name, 0) - now_ms
            if wait_ms > 0:
                held.add(one.model)
                out.append(SetTimer("queue/drain", wait_ms))
                continue
            asked = self._reader.get(_ASKED + name)
            if asked is None:
                out += self._end(name, QueueState.FAILED, "what was asked is gone from the disk")
                continue
            running += 1
            now = structs.replace(one, state=QueueState.RUNNING, tries=one.tries + 1)
            out += [*self._put(now), Serve(now, asked)]
        return out

    def _on_served(self, event: Served) -> list[QueueEffect]:
        entry = self._entries.get(event.id)
        if entry is None or entry.state in ENDED:
            return []
        size = len(event.answer)
        kept = Persist(Store.WORK, ((_ANSWER + event.id, event.answer),))
        self._entries[event.id] = structs.replace(entry, size_bytes=size, server=event.server[:128])
        return [kept, *self._end(event.id, QueueState.DONE, "")]

    def _on_not_served(self, now_ms: int, event: NotServed) -> list[QueueEffect]:
        entry = self._entries.get(event.id)
        if entry is None or entry.state in ENDED:
            return []
        if event.escalates:
            return self._put(
                structs.replace(entry, state=QueueState.ESCALATED, why=event.reason[:500])
            )
        if not event.may_wait:
            return self._end(event.id, QueueState.FAILED, event.reason)
        self._not_before_ms[event.id] = now_ms + RETRY_MS
        again = structs.replace(entry, state=QueueState.WAITING, why=event.reason[:500])
        return [*self._put(again), SetTimer("queue/drain", RETRY_MS)]

    def _on_tried_again(self, event: TriedAgain) -> list[QueueEffect]:
        entry = self._entries.get(event.id)
        if entry is None or entry.state is not QueueState.ESCALATED:
            return []
        return self._put(structs.replace(entry, state=QueueState.WAITING))

    def _stop(self, name: Digest, state: QueueState, why: str) -> list[QueueEffect]:
        """End it from outside, whatever is under way for it."""
        entry = self._entries.get(name)
        is_running = entry is not None and entry.state is QueueState.RUNNING
        out: list[QueueEffect] = [GiveUp(name)] if is_running else []
        return [*out, *self._end(name, state, why)]

    def _end(self, name: Digest, state: QueueState, why: str) -> list[QueueEffect]:
        entry = self._entries.get(name)
        if entry is None or entry.state in ENDED:
            return []
        self._not_before_ms.pop(name, None)
        out: list[QueueEffect] = [
            Persist(Store.WORK, ((_ASKED + name, None),)),
            CancelTimer(f"queue/deadline/{name.hex()}"),
        ]
        size = entry.size_bytes if state is QueueState.DONE else 0
        # Behind all others: what has ended is trimmed oldest first.
        del self._entries[name]
        ended = structs.replace(entry, state=state, why=why[:500], size_bytes=size)
        return [*out, *self._put(ended), *self._trim()]

    def _trim(self) -> list[QueueEffect]:
        ended = [one for one in self._entries.values() if one.state in ENDED]
        size = sum(one.size_bytes for one in ended)
        out: list[QueueEffect] = []
        while len(ended) > 1 and (len(ended) > KEPT_ENDED or size > KEPT_BYTES):
            oldest = ended.pop(0)
            size -= oldest.size_bytes
            del self._entries[Digest(oldest.id)]
            keys = (_ENTRY + oldest.id, _ANSWER + oldest.id)
            out.append(Persist(Store.WORK, tuple((key, None) for key in keys)))
        return out

    def _put(self, entry: Queued) -> list[QueueEffect]:
        self._entries[Digest(entry.id)] = entry
        return [Persist(Store.WORK, ((_ENTRY + entry.id, encode(entry)),))]

    def check_invariants(self) -> None:
        """What must hold after every event."""
        running = [one for one in self._entries.values() if one.state is QueueState.RUNNING]
        assert len(running) <= AT_ONCE
        ended = [one for one in self._entries.values() if one.state in ENDED]
        assert len(ended) <= max(1, KEPT_ENDED)
        assert all(Digest(one.id) == name for name, one in self._entries.items())


def _deadline(entry: Queued, now_ms: int) -> SetTimer:
    return SetTimer(f"queue/deadline/{bytes(entry.id).hex()}", max(0, entry.deadline_ms - now_ms))
