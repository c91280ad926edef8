"""A whole node: the engine of consensus and the task desk, joined as the daemon joins them, without its event loop.

What `node/work/service.py`, `node/chain/own_account.py` and `node/work/offer_streams.py` do with Trio is done here by
turns of the simulated world: blocks are told to the desk once they are on disk, transactions are signed one after the
other, hand-offs are the real coroutines over the world's streams (`conversations.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from consensus.engine import Engine, PeerConnected, PeerDisconnected, Received, Submit
from consensus.engine import Started as EngineStarted
from consensus.engine import TimerFired as EngineTimer
from consensus.execution import BlockExecuted
from consensus.intake import Submitted
from consensus.ledger.events import TaskChanged
from consensus.ledger.outcomes import Outcome
from consensus.ledger.records import Task
from consensus.mempool import Dropped, Refused
from consensus.operations.groups import SubmitGroup, member_id
from consensus.operations.transactions import (
    Operation,
    SubmitTask,
    Transaction,
    TransactionBody,
    content_hash,
    sign_transaction,
    task_id,
)
from gossip.codec import Digest
from gossip.effects import CancelTimer, KeyValueReader, Notify, Persist, SetTimer
from gossip.identity import NodeId, Signer, Verifier
from inference.asker import AskedTask
from inference.desk_events import (
    Answer,
    Asked,
    Cancelled,
    CountersignReceived,
    ExchangeLost,
    LedgerChanged,
    OfferReceived,
    OfferTo,
    ReplyReceived,
    Started,
    SubmitRefused,
    TaskEvent,
    TimerFired,
    Transact,
    TransactRefused,
    Work,
)
from inference.group_work import GroupView
from inference.handoff import (
    Countersigned,
    Finished,
    is_last,
    receive_offer,
    receive_replies,
    receive_word,
    send_offer,
    send_reply,
    send_word,
)
from inference.lifecycle import TaskDesk
from simulations.tasks.conversations import END, Frame, Name, Pipe, Talk, at_once
from simulations.tasks.node_events import (
    Arrived,
    Ask,
    Broke,
    CarryOut,
    Countersign,
    Durable,
    HandIn,
    Pay,
    Placed,
    Put,
    Then,
    Withdraw,
    Worked,
)

_VALID_HEIGHTS = 1_000
_REPORTED = frozenset((BlockExecuted, Submitted, Dropped))
"""What the desk is told of once it is on disk."""


@dataclass(slots=True)
class _Offered:
    """The executor's end of a stream."""

    peer: NodeId
    talk: Talk
    task: Digest | None = None
    is_answered: bool = False


@dataclass(slots=True)
class _Asking:
    """The asker's end of a stream."""

    executor: NodeId
    task: Digest
    talk: Talk
    ended: bool = False
    """Whether the executor has said its last reply."""


@dataclass(slots=True)
class _Heard:
    """What a turn's conversations have told the desk."""

    events: list[TaskEvent] = field(default_factory=list)
    countersigns: list[Countersign] = field(default_factory=list)


Twist = Callable[["WholeNode", Any], list[Any]]
See = Callable[["WholeNode", Any], None]


class WholeNode(Engine):
    """See the module. `number` and `life` name its streams; `twist` is a liar's, `see` the judge's."""

    def __init__(
        self,
        *,
        identity: Signer,
        tasks: KeyValueReader,
        number: int,
        life: int,
        kinds: frozenset[str],
        twist: Twist,
        see: See,
        **engine: Any,  # noqa: ANN401 - see Engine
    ) -> None:
        super().__init__(**engine)
        self.number, self.life = number, life
        self.own = NodeId(identity.public)
        self.kinds = kinds
        self._identity, self._twist, self._see = identity, twist, see
        verifier: Verifier = engine["verifier"]
        self.desk = TaskDesk(
            chain=self.ledger.genesis.federation_id,
            signer=identity,
            verifier=verifier,
            serves=lambda kind: kind in kinds,
            ledger=GroupView.of(self.ledger),
            own_tasks=self._own_tasks,
            reader=tasks,
        )
        self.reachable: set[NodeId] = set()
        self._streams = 0
        self._was_told = False
        """Whether the desk has changed in this turn; its invariants walk over all its tasks."""
        self._asking: dict[Name, _Asking] = {}
        self._offered: dict[Name, _Offered] = {}
        self._newest: dict[tuple[NodeId, Digest], Name] = {}
        self._heard = _Heard()
        self._watched: dict[Digest, Operation | tuple[Digest, ...]] = {}
        self._account: deque[Ask | Operation] = deque()
        """What waits to be signed behind a transaction that is being handed in."""
        self._handing_in: Digest | None = None

    def _own_tasks(self) -> list[tuple[Digest, Task]]:
        return [
            (Digest(name), task)
            for name, task in self.ledger.tasks()
            if task.is_open and self.own in (task.submitter, task.executor)
        ]

    # What it is told

    def handle(self, now_ms: int, event: Any) -> list[Any]:  # noqa: ANN401 - the engine's events and ours
        """Take one event; the effects are carried out in order."""
        if type(event) is Received:  # hardly anything else is
            return self._engine(now_ms, event)
        match event:
            case EngineTimer() if "/" in event.name:
                return self._desk(now_ms, [TimerFired(event.name)])
            case Arrived():
                return self._on_frame(now_ms, event)
            case CarryOut():
                return self._carry_out(now_ms, event.effects)
            case Durable():
                return self._on_reports(now_ms, event.reports)
            case Worked():
                return self._desk(now_ms, [event.done])
            case Ask() | Pay():
                return self._sign(now_ms, event.operation if isinstance(event, Pay) else event)
            case Withdraw():
                return self._desk(now_ms, [Cancelled(event.task)])
            case Broke():
                return self._on_broken(now_ms, [event.stream], f"{event.peer.hex()[:8]} is silent")
            case PeerConnected() | PeerDisconnected():
                return self._on_reach(now_ms, event)
            case EngineStarted():
                return [*self._engine(now_ms, event), *self._desk(now_ms, [Started()])]
            case _:
                return self._engine(now_ms, event)

    def _on_reach(self, now_ms: int, event: PeerConnected | PeerDisconnected) -> list[Any]:
        if isinstance(event, PeerConnected):
            self.reachable.add(event.peer)
            return self._engine(now_ms, event)
        self.reachable.discard(event.peer)
        lost = [name for name, one in self._asking.items() if one.executor == event.peer]
        lost += [name for name, one in self._offered.items() if one.peer == event.peer]
        out = self._engine(now_ms, event)
        return out + self._on_broken(now_ms, lost, "the connection was lost")

    def _engine(self, now_ms: int, event: Any) -> list[Any]:  # noqa: ANN401 - see Engine
        effects: list[Any] = super().handle(now_ms, event)
        reports = [
            one.what for one in effects if type(one) is Notify and type(one.what) in _REPORTED
        ]
        return [*effects, Then(Durable(tuple(reports)))] if reports else effects

    def _desk(
        self, now_ms: int, events: list[TaskEvent], more: tuple[HandIn | Countersign, ...] = ()
    ) -> list[Any]:
        """Writes and timers at once, everything else when the writes are on disk."""
        out: list[Any] = []
        later: list[Any] = []
        self._was_told |= bool(events)
        for event in events:
            for effect in self.desk.handle(now_ms, event):
                at_once_ = isinstance(effect, Persist | SetTimer | CancelTimer)
                (out if at_once_ else later).append(effect)
        later += more
        if later:
            out.append(Then(CarryOut(tuple(later))))
        return out

    def check_invariants(self) -> None:
        """What must hold after every event."""
        super().check_invariants()
        if self._was_told:
            self._was_told = False
            self.desk.check_invariants()

    # Its account

    def _sign(self, now_ms: int, wanted: Ask | Operation) -> list[Any]:
        """One transaction after the other, each with the next nonce."""
        if self._handing_in is not None:
            self._account.append(wanted)
            return []
        if not isinstance(wanted, Ask):
            transaction = self._signed(wanted)
            self._handing_in = transaction.id
            self._watched[transaction.id] = wanted
            return self._engine(now_ms, Submit((transaction,)))
        transaction = self._signed(_operation_of(wanted))
        self._handing_in = transaction.id
        name = task_id(transaction.id, 0)
        names: tuple[Digest, ...] = (name,)
        if wanted.agreement > 1:
            names = tuple(member_id(name, at) for at in range(len(wanted.executors)))
        asked: list[TaskEvent] = [
            Asked(
                one,
                wanted.kind,
                wanted.content,
                executor,
                wanted.deadline_ms,
                transaction.id,
                wanted.why,
            )
            for one, executor in zip(names, wanted.executors, strict=True)
        ]
        self._watched[transaction.id] = names
        noted = self._desk(now_ms, asked, (HandIn(transaction, names),))
        return [Notify(Placed(wanted, names)), *noted]

    def _signed(self, operation: Operation) -> Transaction:
        body = TransactionBody(
            self.ledger.genesis.federation_id,
            self._identity.public,
            self.mempool.next_nonce(self.own, self.ledger),
            self.height + _VALID_HEIGHTS,
            (operation,),
        )
        return sign_transaction(self._identity, body)

    def _on_reports(self, now_ms: int, reports: tuple[object, ...]) -> list[Any]:
        """Tell the desk what became of blocks and of its own transactions."""
        events: list[TaskEvent] = []
        freed = False
        for report in reports:
            match report:
                case Submitted():
                    for transaction, answer in report.answers:
                        if transaction.id == self._handing_in:
                            self._handing_in, freed = None, True
                        if isinstance(answer, Refused):
                            events += self._failed(transaction.id, answer.reason)
                case Dropped():
                    events += self._failed(report.transaction.id, report.reason)
                case BlockExecuted():
                    for outcome in report.result.outcomes:
                        events += self._ended(outcome)
                    events += (
                        LedgerChanged(Digest(one.task_id), one.transaction, report.block.height)
                        for one in report.result.events
                        if isinstance(one, TaskChanged)
                    )
                case _:
                    raise TypeError(f"no such report: {report!r}")
        out = self._desk(now_ms, events)
        while freed and self._account and self._handing_in is None:
            out += self._sign(now_ms, self._account.popleft())
        return out

    def _ended(self, outcome: Outcome) -> list[TaskEvent]:
        name = Digest(outcome.transaction)
        if outcome.ok:
            self._watched.pop(name, None)
            return []
        return self._failed(name, outcome.reason)

    def _failed(self, transaction: Digest, reason: str) -> list[TaskEvent]:
        watched = self._watched.pop(transaction, None)
        if watched is None:
            return []
        if isinstance(watched, tuple):
            return [SubmitRefused(task, reason) for task in watched]
        return [TransactRefused(watched, reason)]

    # What the desk wants

    def _carry_out(self, now_ms: int, effects: tuple[Any, ...]) -> list[Any]:
        out: list[Any] = []
        lost: list[TaskEvent] = []
        for wanted in effects:
            for effect in self._twist(self, wanted):
                self._see(self, effect)
                match effect:
                    case Transact():
                        out += self._sign(now_ms, effect.operation)
                    case HandIn():
                        out += self._engine(now_ms, Submit((effect.transaction,)))
                    case OfferTo():
                        out += self._offer(effect, lost)
                    case Answer():
                        out += self._answer(effect)
                    case Countersign():
                        out += self._countersign(effect)
                    case Notify() | Work():
                        out.append(effect)
                    case _:
                        raise TypeError(f"the task desk never asks for {effect!r}")
        return [*out, *self._desk(now_ms, lost)] if lost else out

    def _offer(self, effect: OfferTo, lost: list[TaskEvent]) -> list[Any]:
        task = Digest(effect.offer.task)
        if effect.executor not in self.reachable:
            lost.append(ExchangeLost(task, "the executor can't be reached"))
            return []
        self._streams += 1
        name = Name(self.number, self.life, self._streams)
        pipe = Pipe()
        talk = Talk(pipe, self._listen_for_replies(name, pipe, effect))
        self._asking[name] = _Asking(effect.executor, task, talk)
        talk.go_on()
        return self._frames(name, effect.executor, pipe, opens=True)

    def _frames(
        self, name: Name, to: NodeId, pipe: Pipe, *, opens: bool = False, ends: bool = False
    ) -> list[Any]:
        messages = [*pipe.take(), *([END] if ends else [])]
        return [
            Put(to, Frame(name, opens and not at, message)) for at, message in enumerate(messages)
        ]

    async def _listen_for_replies(self, name: Name, pipe: Pipe, effect: OfferTo) -> None:
        task = Digest(effect.offer.task)
        await send_offer(pipe, effect.offer, effect.content)
        async for reply, content in receive_replies(pipe):
            self._heard.events.append(ReplyReceived(task, reply, content))
            if is_last(reply):
                self._asking[name].ended = True
            if isinstance(reply, Finished):
                self._heard.countersigns.append(Countersign(name, task, reply))

    async def _listen_for_words(self, name: Name, peer: NodeId, pipe: Pipe) -> None:
        offer, content = await receive_offer(pipe)
        task = Digest(offer.task)
        self._offered[name].task = task
        self._newest[peer, task] = name
        self._heard.events.append(OfferReceived(peer, offer, content))
        while (word := await receive_word(pipe)) is not None:
            if isinstance(word, Countersigned):
                self._heard.events.append(CountersignReceived(peer, task, word.signature))

    def _answer(self, effect: Answer) -> list[Any]:
        """On the newest stream on which this peer offered the task; lost if there is none."""
        name = self._newest.get((effect.peer, effect.task))
        offered = None if name is None else self._offered.get(name)
        if name is None or offered is None or offered.is_answered:
            return []
        offered.is_answered = is_last(effect.reply)
        at_once(send_reply(offered.talk.pipe, effect.reply, effect.content))
        return self._frames(name, effect.peer, offered.talk.pipe)

    def _countersign(self, effect: Countersign) -> list[Any]:
        """The asker's last word on a stream, if it has one; then its end."""
        asking = self._asking.pop(effect.stream, None)
        if asking is None:
            return []
        record = self.desk.find(effect.task)
        if (
            record is not None
            and record.countersignature is not None
            and record.receipt == effect.reply.signed
        ):
            at_once(send_word(asking.talk.pipe, Countersigned(record.countersignature)))
        return self._frames(effect.stream, asking.executor, asking.talk.pipe, ends=True)

    # Streams

    def _on_frame(self, now_ms: int, event: Arrived) -> list[Any]:
        frame, peer = event.frame, event.peer
        if frame.stream.asker == self.number:
            return self._on_reply(now_ms, frame)
        offered = self._offered.get(frame.stream)
        if offered is None and frame.opens:
            pipe = Pipe()
            talk = Talk(pipe, self._listen_for_words(frame.stream, peer, pipe))
            offered = self._offered[frame.stream] = _Offered(peer, talk)
        if offered is None or offered.peer != peer:
            ended = frame.content == END
            return [] if ended else [Put(peer, Frame(frame.stream, opens=False, content=END))]
        offered.talk.hear(frame.content)
        out: list[Any] = []
        if offered.talk.is_over:
            self._forget_offer(frame.stream)
            if frame.content != END:
                out = [Put(peer, Frame(frame.stream, opens=False, content=END))]
        return out + self._desk(now_ms, self._told()[0])

    def _on_reply(self, now_ms: int, frame: Frame) -> list[Any]:
        name = frame.stream
        asking = self._asking.get(name)
        if asking is None:
            return []
        asking.talk.hear(frame.content)
        events, countersigns = self._told()
        out: list[Any] = []
        if asking.talk.error:
            del self._asking[name]
            events.append(ExchangeLost(asking.task, asking.talk.error))
            out = self._frames(name, asking.executor, asking.talk.pipe, ends=True)
        elif asking.ended and not countersigns:
            del self._asking[name]
            out = self._frames(name, asking.executor, asking.talk.pipe, ends=True)
        return out + self._desk(now_ms, events, countersigns)

    def _told(self) -> tuple[list[TaskEvent], tuple[Countersign, ...]]:
        heard, self._heard = self._heard, _Heard()
        return heard.events, tuple(heard.countersigns)

    def _on_broken(self, now_ms: int, names: list[Name], reason: str) -> list[Any]:
        events: list[TaskEvent] = []
        for name in names:
            asking = self._asking.pop(name, None)
            if asking is not None:
                asking.talk.close()
                if not asking.ended:
                    events.append(ExchangeLost(asking.task, reason))
            self._forget_offer(name)
        return self._desk(now_ms, events)

    def _forget_offer(self, name: Name) -> None:
        offered = self._offered.pop(name, None)
        if offered is None:
            return
        offered.talk.close()
        if offered.task is not None and self._newest.get((offered.peer, offered.task)) == name:
            del self._newest[offered.peer, offered.task]

    def record_of(self, task: Digest) -> AskedTask | None:
        """What is noted of a task that this node asked for."""
        return self.desk.find(task)


def _operation_of(ask: Ask) -> Operation:
    hashed = content_hash(ask.content)
    if ask.agreement == 1:
        return SubmitTask(ask.kind, hashed, ask.reward, ask.executors[0], ask.deadline_ms)
    return SubmitGroup(
        ask.kind,
        hashed,
        ask.reward,
        len(ask.executors),
        ask.agreement,
        ask.rule,
        ask.executors,
        ask.deadline_ms,
    )
