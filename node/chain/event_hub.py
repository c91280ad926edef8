"""What happens on the chain, told to subscribers: pending, included, finalized; tasks; blocks.

What is final comes from the event log and carries a cursor, its place there; who was cut off subscribes again behind
the last cursor it saw and misses nothing. What is pending or included may still change: it is told once, as this node
learns of it, without a cursor, and is not told again. Each subscriber has a bounded queue. One that doesn't keep up is
cut off, is told so and where to go on, and costs the others nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Protocol

import msgspec
import trio

from consensus.chain import ChainReader
from consensus.execution import BlockExecuted
from consensus.intake import Submitted
from consensus.ledger.event_log import (
    BlockFinalized,
    Cursor,
    EventLog,
    Logged,
    TransactionExecuted,
    parties_of,
)
from consensus.ledger.events import TaskChanged
from consensus.ledger.outcomes import Code
from consensus.mempool import Added, Dropped, RefusalCode
from consensus.operations.transactions import Transaction
from consensus.pbft.reports import Prepared
from gossip.effects import KeyValueReader

QUEUE_NOTICES = 20_000
"""So many notices wait for one subscriber at most; a block of 2,000 transactions makes 6,001 in all."""
MAX_SUBSCRIBERS = 1_000
_REPLAYED_AT_ONCE = 16


class Topic(Enum):
    """What a subscriber wants to hear about; `ID` goes with all but the first."""

    EVERYTHING = "everything"
    TRANSACTION = "transaction"
    ACCOUNT = "account"
    TASK = "task"


@dataclass(frozen=True, slots=True)
class Wish:
    """A subscription: a topic, and the id that it is about."""

    topic: Topic = Topic.EVERYTHING
    id: bytes = b""

    @property
    def key(self) -> bytes:
        """What notices are sorted by."""
        return _LETTERS[self.topic] + self.id


_LETTERS = {
    Topic.EVERYTHING: b"*",
    Topic.TRANSACTION: b"t",
    Topic.ACCOUNT: b"a",
    Topic.TASK: b"k",
}
_EVERYTHING = b"*"


class Notice(msgspec.Struct, frozen=True, gc=False):
    """Something that happened, encoded once for all who hear it. Without a cursor it is not final."""

    kind: str
    body: bytes
    cursor: Cursor | None


class _TransactionTold(msgspec.Struct, omit_defaults=True, gc=False):
    """What callers read about a transaction."""

    event: str
    cursor: str | None
    tx_hash: str = msgspec.field(name="txHash")
    status: str
    block_hash: str | None = msgspec.field(name="blockHash", default=None)
    height: int | None = None
    code: str | None = None
    reason: str | None = None


class _TaskTold(msgspec.Struct, gc=False):
    """What callers read about a task."""

    event: str
    cursor: str
    task_id: str = msgspec.field(name="taskId")
    status: str
    tx_hash: str = msgspec.field(name="txHash")
    height: int
    executor: str | None


class _BlockTold(msgspec.Struct, gc=False):
    """What callers read about a block."""

    event: str
    cursor: str
    height: int
    block_hash: str = msgspec.field(name="blockHash")
    timestamp_ms: int


class Sketch(msgspec.Struct, gc=False):
    """A notice that is only made if somebody wants to hear it: of everything, of its subject, or of a party to it."""

    subject: bytes
    """The letter and the id of what it is about, or nothing."""
    parties: Iterable[bytes]
    kind: str
    cursor: Cursor | None
    content: Callable[[], object]

    def meets(self, key: bytes) -> bool:
        """Whether a wish with this key is for it."""
        return key in (_EVERYTHING, self.subject) or key in _account_keys(self.parties)

    def notice(self) -> Notice:
        """What is sent."""
        return Notice(self.kind, _encode(self.content()), self.cursor)


_encode = msgspec.json.Encoder().encode


class Feed(Protocol):
    """How far the chain is on disk."""

    @property
    def durable_height(self) -> int:
        """The height of the last block on disk."""


class TooManySubscribersError(Exception):
    """The node has as many subscribers as it can serve."""


class Subscription:
    """One subscriber's queue; first, if it goes on behind a cursor, what it missed."""

    def __init__(self, hub: EventHub, wish: Wish, behind: Cursor | None) -> None:
        self.wish = wish
        self._hub, self._behind = hub, behind
        self._is_cut = False
        self._waiting: deque[Notice] = deque()
        self._wake = trio.Event()
        self.after = behind or hub.end
        """Everything final up to here has been handed out."""

    def offer(self, notice: Notice) -> None:
        """Queue a notice; with too many waiting, the subscriber is cut off."""
        if len(self._waiting) >= QUEUE_NOTICES:
            self._is_cut = True
            self._waiting.clear()
        elif not self._is_cut:
            self._waiting.append(notice)
        self._wake.set()

    async def take(self) -> list[Notice]:
        """All that waits, at least one notice. The last one may be that the subscriber is cut off."""
        while self._behind is not None:
            past = self._hub.past(self, self._behind)
            await trio.lowlevel.checkpoint()
            if past:
                return self._handed_out(past)
        while not self._waiting and not self._is_cut:
            self._wake = trio.Event()
            await self._wake.wait()
        if self._is_cut:
            self._hub.cut += 1
            return [_cut_off(self.after)]
        taken = list(self._waiting)
        self._waiting.clear()
        return self._handed_out(taken)

    def go_on_behind(self, cursor: Cursor | None) -> None:
        """Where to read the log next; None when all of it is read and notices come by themselves."""
        self._behind = cursor

    def _handed_out(self, taken: list[Notice]) -> list[Notice]:
        for notice in taken:
            if notice.cursor is not None:
                self.after = notice.cursor
        return taken


class EventHub:
    """See the module. `on_report` hears the engine after its writes are on disk."""

    def __init__(self, chain: KeyValueReader, feed: Feed) -> None:
        self._log, self._feed = EventLog(chain), feed
        first = ChainReader(chain).first_height()
        self.first_height = first + 1 if first > 1 else 1
        """The log is whole from this height on; a snapshot has no events."""
        self._by_key: dict[bytes, list[Subscription]] = {}
        self._is_narrow = False
        """Whether anybody wants to hear less than everything."""
        self._count = 0
        self.cut = 0

    @property
    def end(self) -> Cursor:
        """Behind all that is final now."""
        return Cursor.end_of(self._feed.durable_height)

    @property
    def subscribers(self) -> int:
        """How many listen."""
        return self._count

    def on_report(self, what: object) -> None:
        """Tell subscribers what a report of the engine means to them."""
        if not self._by_key:
            return
        match what:
            case Submitted():
                for transaction, answer in what.answers:
                    if isinstance(answer, Added):
                        self._tell_standing(transaction, "pending")
            case Prepared():
                for transaction in what.block.transactions:
                    self._tell_standing(transaction, "included")
            case Dropped():
                status = "expired" if what.code is RefusalCode.EXPIRED else "rejected"
                self._tell_standing(what.transaction, status, what.reason)
            case BlockExecuted():
                for sketch in sketches(self._log.block(what.block.height, _TOLD) or ()):
                    hearers = self._hearers(sketch.subject, sketch.parties)
                    if hearers:
                        _offer(sketch.notice(), hearers)
            case _:
                pass

    def _tell_standing(
        self, transaction: Transaction, status: str, reason: str | None = None
    ) -> None:
        """Told for every transaction twice: what only narrow wishes need is left out where there are none."""
        parties = parties_of(transaction) if self._is_narrow else ()
        hearers = self._hearers(b"t" + transaction.id, parties)
        if hearers:
            told = _TransactionTold(
                "transaction", None, transaction.id.hex(), status, reason=reason
            )
            _offer(Notice("transaction", _encode(told), None), hearers)

    def _hearers(self, subject: bytes, parties: Iterable[bytes]) -> Sequence[Subscription]:
        everyone: Sequence[Subscription] = self._by_key.get(_EVERYTHING, ())
        if not self._is_narrow:
            return everyone
        keys = (subject, *_account_keys(parties))
        return [*everyone, *(one for key in keys for one in self._by_key.get(key, ()))]

    @contextmanager
    def subscribed(self, wish: Wish, behind: Cursor | None) -> Iterator[Subscription]:
        """Hear what happens behind a cursor, or from now on. Raises `TooManySubscribersError`."""
        if self._count >= MAX_SUBSCRIBERS:
            raise TooManySubscribersError
        self._count += 1
        subscription = Subscription(self, wish, behind)
        try:
            if behind is None:
                self._enter(subscription)
            yield subscription
        finally:
            self._count -= 1
            self._leave(subscription)

    def past(self, subscription: Subscription, behind: Cursor) -> list[Notice]:
        """A piece of what a subscriber missed; with the last one it is entered, so that nothing falls between."""
        end = self._feed.durable_height
        until = min(end, behind.height + _REPLAYED_AT_ONCE)
        key = subscription.wish.key
        missed = sketches(self._log.after(behind, until, _TOLD))
        found = [one.notice() for one in missed if one.meets(key)]
        if until >= end:
            self._enter(subscription)
        subscription.go_on_behind(None if until >= end else Cursor.end_of(until))
        return found

    def _enter(self, subscription: Subscription) -> None:
        self._by_key.setdefault(subscription.wish.key, []).append(subscription)
        self._is_narrow = any(key != _EVERYTHING for key in self._by_key)

    def _leave(self, subscription: Subscription) -> None:
        others = self._by_key.get(subscription.wish.key, [])
        if subscription in others:
            others.remove(subscription)
        if not others:
            self._by_key.pop(subscription.wish.key, None)
        self._is_narrow = any(key != _EVERYTHING for key in self._by_key)


def sketches(events: Iterable[Logged]) -> Iterator[Sketch]:
    """What the events of the log mean to subscribers."""
    for logged in events:
        place = logged.place
        match logged.event:
            case TransactionExecuted() as event:
                content = partial(_executed, logged, event)
                yield Sketch(b"t" + event.transaction, event.parties, "transaction", place, content)
            case TaskChanged() as event:
                parties = sorted({event.now.submitter, event.now.executor or event.now.submitter})
                content = partial(_task, logged, event)
                yield Sketch(b"k" + event.task_id, parties, "task", place, content)
            case BlockFinalized() as event:
                yield Sketch(b"", (), "block", place, partial(_block, logged, event))
            case _:
                pass


_TOLD: frozenset[type[Any]] = frozenset({TransactionExecuted, TaskChanged, BlockFinalized})


def _executed(logged: Logged, event: TransactionExecuted) -> object:
    ok = event.code is Code.OK
    return _TransactionTold(
        "transaction",
        str(logged.place),
        event.transaction.hex(),
        "finalized" if ok else "failed",
        logged.block.hex(),
        logged.place.height,
        None if ok else event.code.value,
    )


def _task(logged: Logged, event: TaskChanged) -> object:
    task = event.now
    return _TaskTold(
        "task",
        str(logged.place),
        event.task_id.hex(),
        task.state.value,
        logged.correlation.hex(),
        logged.place.height,
        None if task.executor is None else task.executor.hex(),
    )


def _block(logged: Logged, event: BlockFinalized) -> object:
    return _BlockTold("block", str(logged.place), event.height, event.block.hex(), event.time_ms)


def _account_keys(parties: Iterable[bytes]) -> list[bytes]:
    return [b"a" + party for party in parties]


def _offer(notice: Notice, hearers: Iterable[Subscription]) -> None:
    for one in hearers:
        one.offer(notice)


def _cut_off(after: Cursor) -> Notice:
    content = {
        "event": "cut",
        "cursor": str(after),
        "reason": "too slow: more than can wait had to; go on behind this cursor",
    }
    return Notice("cut", msgspec.json.encode(content), after)
