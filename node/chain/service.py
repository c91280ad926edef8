"""Consensus in the daemon: the engine, what it sends, and who waits for its answers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import msgspec
import structlog
import trio

from consensus.blocks import Block
from consensus.chain import ChainReader
from consensus.engine import (
    Engine,
    EngineEvent,
    Offer,
    Received,
    Started,
    Submit,
    TimerFired,
)
from consensus.execution import BlockExecuted, UnknownProtocol
from consensus.intake import Submitted
from consensus.ledger.outcomes import Outcome
from consensus.mempool import Added, Dropped, Refused
from consensus.messages import (
    AskVotes,
    CollectedStates,
    CollectedVotes,
    FetchBlocks,
    FetchBody,
    FetchTransactions,
    FetchViewChanges,
    NewestVotes,
    NewView,
    NewViewNames,
    Proposal,
    StateVote,
    Status,
    Suspect,
    ViewChange,
    ViewChangeNames,
    Vote,
)
from consensus.operations.transactions import Transaction
from consensus.parameters import PROTOCOL_VERSION
from consensus.pbft.finality import Diverged, StateCertified
from consensus.pbft.own_votes import VotesElsewhere
from consensus.pbft.reports import Equivocation, Prepared, ViewEntered
from consensus.sync import stored_blocks
from gossip.codec import Digest, Wire, encode
from gossip.effects import Broadcast, Cause, Effect, Notify, Persist, Rejected, Send, Store
from gossip.identity import NodeId
from node.driver import CoreDriver
from node.errors import NodeError
from node.peers.refusals import BYTE_S, Refusals
from node.storage.sealed_store import SealedStore, note_write
from node.storage.store import StagedStore

log = structlog.get_logger(__name__)

MAX_WAITING = 20_000
"""Events that wait for the engine; beyond it peers' messages are dropped, and their senders resend."""

_DROPPED_KEPT = 10_000
_OFFERED_AT_ONCE = 200
"""Two or three milliseconds; then the other tasks get their turn."""
_READ_AHEAD = 512
_AT_ONCE = 32
"""Beyond it the engine gets its turn, and those that waste its time are held back, before more is decoded."""
_EXCUSED = 4
"""Messages of one peer for each block that may come too late to matter: its votes, when others were quicker."""
_URGENT = (Proposal, Vote, StateVote, CollectedVotes, CollectedStates)
_QUESTIONS = (
    *(Status, FetchBlocks, FetchBody, FetchTransactions, AskVotes, NewestVotes),
    *(Suspect, ViewChange, ViewChangeNames, NewView, NewViewNames, FetchViewChanges),
)
"""Answering one costs more than asking, or it is taken at any rate: the sender pays for them."""


class StateDivergedError(NodeError):
    """The node computed another state than the quorum certified; it must not go on."""


@dataclass(slots=True)
class _Waiting:
    """A caller that waits for the mempool's answers to its transactions."""

    wanted: int
    answers: dict[Digest, Added | Refused] = field(default_factory=dict)
    done: trio.Event = field(default_factory=trio.Event)


@dataclass(slots=True)
class _Watch:
    """A caller that waits for a transaction's fate."""

    fate: Outcome | Dropped | None = None
    done: trio.Event = field(default_factory=trio.Event)


class ChainService:
    """The engine's surroundings. `send(peer, payload, urgent)` queues a frame or says no; see `Transport.together`."""

    def __init__(
        self,
        engine: Engine,
        stores: Mapping[str, StagedStore],
        send: Callable[[NodeId, bytes, bool], bool],
        together: AbstractContextManager[None] | None = None,
    ) -> None:
        """`stores` has `pool`, `chain` and `votes`; `chain` is written before `votes`, and `pool` ahead of both.

        A crash between the two then leaves a block without the votes cast above it, and those have not been sent; the
        other way round would leave votes above a block that is not there.
        """
        self.engine = engine
        ordered = {store: stores[store.value] for store in (Store.POOL, Store.CHAIN, Store.VOTES)}
        self._driver: CoreDriver[EngineEvent] = CoreDriver(
            self._handle, TimerFired, self._carry_out, ordered, Store.POOL, together=together
        )
        self._send = send
        self._chain = stores["chain"]
        self._votes: SealedStore | None = None
        self._up = trio.Event()
        self._looks = False
        """Whether the engine is going to look at what was offered to it."""
        self._submitting: dict[Digest, list[_Waiting]] = {}
        self._watched: dict[Digest, list[_Watch]] = {}
        self._listeners: list[Callable[[object], None]] = []
        self.dropped: dict[Digest, Dropped] = {}
        self._prepared: Block | None = None
        self.durable_height = engine.height
        """Every block up to this height is on disk."""
        self._grown = trio.Event()
        self._certified = trio.Event()
        self.counters: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        """Messages by their kind, one for each receiver."""
        self.refusals = Refusals()
        self._charge: Callable[[NodeId, float], None] = _ignore
        self._excused: Counter[NodeId] = Counter()

    def note_votes(self, votes: SealedStore) -> None:
        """Note in the chain's database how far the votes' seals have come, so that lost ones are missed."""
        self._votes = votes

    async def run(self) -> None:
        """Serve until cancelled. Raises `StoreError`, `StateDivergedError` or `NodeError` when it can't go on."""
        self.post(Started())
        await self._driver.run()

    def post(self, event: EngineEvent) -> None:
        """Queue an event; a peer's message is refused if too much waits."""
        if isinstance(event, Received) and self._driver.waiting >= MAX_WAITING:
            self.refusals.tell(Rejected(event.peer, "too much waits here", Cause.TOO_OFTEN))
        else:
            self._driver.post(event)

    async def room(self) -> None:
        """Return when little enough waits for the engine that more may be read."""
        await self._driver.room(_READ_AHEAD)

    def has_leisure(self) -> bool:
        """Whether so little waits for the engine that messages may be handed in as they come."""
        return self._driver.waiting < _AT_ONCE

    def charge_to(self, charge: Callable[[NodeId, float], None]) -> None:
        """Say whom to tell that a peer's message was of no use or a question, and what it cost in CPU seconds."""
        self._charge = charge

    def _handle(self, now: int, event: EngineEvent) -> list[Effect]:
        match event:
            case Received():
                return self._received(now, event)
            case Started():
                self._up.set()
            case Submit():
                self._looks = False
            case _:
                pass
        return self.engine.handle(now, event)

    def _received(self, now: int, event: Received) -> list[Effect]:
        began_s = time.thread_time()
        effects = self.engine.handle(now, event)
        refused = _refusal(event.peer, effects)
        if refused is not None and refused.cause.is_usual:
            self._excused[event.peer] += 1
            if self._excused[event.peer] <= _EXCUSED:
                return effects
        if refused is not None or isinstance(event.message, _QUESTIONS):
            self._charge(event.peer, time.thread_time() - began_s)
        return effects

    def listen(self, listener: Callable[[object], None]) -> None:
        """Call `listener` with every report of the engine, after it is on disk."""
        self._listeners.append(listener)

    async def submit(self, transactions: tuple[Transaction, ...]) -> list[Added | Refused]:
        """Offer transactions whose signatures are checked; the mempool's answers in the same order.

        They go ahead of the rounds, in pieces: an answer waits for no block and none for a long one.
        """
        if not transactions:
            return []
        if not self._up.is_set():
            await (
                self._up.wait()
            )  # else what waited before the start would be taken for known, and forgotten
        waiting = _Waiting(len({one.id for one in transactions}))
        for name in {one.id for one in transactions}:
            self._submitting.setdefault(name, []).append(waiting)
        for at in range(0, len(transactions), _OFFERED_AT_ONCE):
            piece = transactions[at : at + _OFFERED_AT_ONCE]
            self._driver.post_ahead(Offer(piece), _joined)
        await waiting.done.wait()
        return [waiting.answers[one.id] for one in transactions]

    @property
    def prepared(self) -> frozenset[Digest]:
        """The ids of the transactions in a block that is prepared and not yet final."""
        block = self._prepared
        return frozenset() if block is None else frozenset(one.id for one in block.transactions)

    async def fate_of(self, transaction: Digest) -> Outcome | Dropped:
        """Wait until a transaction that was taken is executed, or can never be."""
        known = self._known_fate(transaction)
        if known is not None:
            return known
        watch = _Watch()
        self._watched.setdefault(transaction, []).append(watch)
        await watch.done.wait()
        assert watch.fate is not None
        return watch.fate

    def certified_block(self, height: int) -> bytes | None:
        """The canonical bytes of a final block with its certificates, put together as they are stored."""
        if height > self.durable_height:
            return None
        parts = self.engine.chain.certified_bytes(height)
        return None if parts is None else encode(tuple(map(msgspec.Raw, parts)))

    @property
    def certified_heights(self) -> range:
        """The heights of the blocks that are here, on disk, and whose state a quorum has certified."""
        chain = self.engine.chain
        last = min(chain.certified_height(), self.durable_height)
        return range(chain.first_height(), last + 1)

    def certified_blocks(self, first: int) -> bytes:
        """Some of them from `first` on, as many as make a good page."""
        return encode(stored_blocks(self.engine.chain, first, self.certified_heights.stop - 1))

    async def until_durable(self, height: int) -> None:
        """Return when the block at this height is final and on disk."""
        while self.durable_height < height:
            await self._grown.wait()

    def certified_on_disk(self) -> int:
        """Up to this height every outcome is provable, after a loss of power too."""
        disk = self._chain.disk
        height = ChainReader(disk).certified_height()
        disk.write(())
        return height

    async def certified(self) -> None:
        """Return when a quorum has certified another state."""
        await self._certified.wait()

    def _known_fate(self, transaction: Digest) -> Outcome | Dropped | None:
        place = self.engine.chain.place_of(transaction)
        if place is None or place.height > self.durable_height:
            return self.dropped.get(transaction)
        execution = self.engine.chain.execution(place.height)
        return None if execution is None else execution.results.outcomes[place.index]

    def _carry_out(self, effect: object) -> None:
        match effect:
            case Send():
                self._charge(effect.to, BYTE_S * self._send_to((effect.to,), effect.message))
            case Broadcast():
                self._send_to(effect.to, effect.message)
            case Rejected():
                self.refusals.tell(effect)
            case Notify():
                self._on_report(effect.what)
            case _:
                raise AssertionError(f"the engine never asks for {effect!r}")

    def _send_to(self, peers: tuple[NodeId, ...], message: Wire) -> int:
        """Queue a message; its size."""
        payload = encode(message)
        urgent = isinstance(message, _URGENT)
        self.sent[type(message).__name__] += len(peers)
        for peer in peers:
            if not self._send(peer, payload, urgent):
                self.counters["unsent"] += 1
        return len(payload)

    def _on_report(self, what: object) -> None:
        match what:
            case Submitted():
                self._answer(what)
            case Dropped():
                self._keep_dropped(what)
            case Prepared():
                self._prepared = what.block
            case BlockExecuted():
                self._on_executed(what)
            case StateCertified():
                self._certified.set()
                self._certified = trio.Event()
            case ViewEntered():
                log.info("view entered", epoch=what.epoch, view=what.view)
            case Equivocation():
                log.error("a validator signed two contradicting statements", voter=what.voter.hex())
            case VotesElsewhere():
                log.error("the voting key votes elsewhere", reason=what.sentence)
            case Diverged() | UnknownProtocol():
                raise _end(what)
            case _:
                pass
        for listener in self._listeners:
            listener(what)

    def _on_executed(self, report: BlockExecuted) -> None:
        self._prepared = None
        self._excused.clear()
        self._note()
        self.durable_height = report.block.height
        self._grown.set()
        self._grown = trio.Event()
        if self._watched:
            for outcome in report.result.outcomes:
                self._decide(Digest(outcome.transaction), outcome)

    def _note(self) -> None:
        if self._votes is not None:
            write = note_write(self.engine.keys.present, self._votes.number)
            self._chain.stage((write,))

    def _answer(self, report: Submitted) -> None:
        is_news = any(isinstance(answer, Added) for _, answer in report.answers)
        if is_news and not self._looks:
            self._looks = True
            self._driver.post(Submit(()))
        for transaction, answer in report.answers:
            name = transaction.id
            for waiting in self._submitting.pop(name, ()):
                waiting.answers[name] = answer
                if len(waiting.answers) == waiting.wanted:
                    waiting.done.set()

    def _keep_dropped(self, report: Dropped) -> None:
        name = report.transaction.id
        self.dropped[name] = report
        if len(self.dropped) > _DROPPED_KEPT:
            del self.dropped[next(iter(self.dropped))]
        self._decide(name, report)

    def _decide(self, transaction: Digest, fate: Outcome | Dropped) -> None:
        for watch in self._watched.pop(transaction, []):
            watch.fate = fate
            watch.done.set()


def _refusal(peer: NodeId, effects: list[Effect]) -> Rejected | None:
    """The refusal of a peer's message, if nothing else came of it."""
    refused: Rejected | None = None
    for effect in effects:
        if isinstance(effect, Persist):
            return None
        if isinstance(effect, Rejected) and effect.peer == peer:
            refused = effect
    return refused


def _ignore(_: NodeId, __: float) -> None:
    pass


def _joined(before: EngineEvent, event: EngineEvent) -> EngineEvent | None:
    """What several users hand in at a time is offered together."""
    assert isinstance(before, Offer)
    assert isinstance(event, Offer)
    if len(before.transactions) + len(event.transactions) > _OFFERED_AT_ONCE:
        return None
    return Offer((*before.transactions, *event.transactions))


def _end(what: Diverged | UnknownProtocol) -> Exception:
    """Why the node can't go on."""
    if isinstance(what, UnknownProtocol):
        return NodeError(
            f"the federation speaks protocol {what.version} after height {what.height}, this program "
            f"{PROTOCOL_VERSION}: install a newer version and start it again"
        )
    return StateDivergedError(
        f"at height {what.own.height} this node computed the state root {what.own.state_root.hex()}, "
        f"but a quorum certified {what.certified.state_root.hex()}: this node's data is damaged, or it runs "
        "other software. Keep a copy of its home, and join again from a new one."
    )
