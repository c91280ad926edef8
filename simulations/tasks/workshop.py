"""A federation of whole nodes: consensus and tasks together, whose users ask each other's nodes for work.

What `simulations/federation.py` judges is judged here too. Beside it: streams for hand-offs, a backend that takes time,
users who ask, take back and ask elsewhere, workers who lie, and the oracles of `oracles.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from consensus.execution import BlockExecuted
from consensus.ledger.records import TaskState
from consensus.operations.groups import AgreementRule
from consensus.operations.transactions import Transfer, Usage, content_hash
from consensus.parameters import Parameters
from gossip.codec import DecodeError, Digest, decode, encode
from gossip.effects import Store
from gossip.identity import NodeId
from inference.agreement import is_compared_by_meaning
from inference.asker import AskedTask, Stage
from inference.desk_events import Work, WorkDone, WorkFailed
from inference.placement import GroupSize, NoPlaceError, choose_place, choose_places
from simulations.federation import FOUNDER_AMOUNT, Federation
from simulations.scenario import Scenario
from simulations.tasks.backend import KINDS, MODEL, input_of, output_of
from simulations.tasks.conversations import Frame, Name
from simulations.tasks.node_events import (
    Arrived,
    Ask,
    Broke,
    Countersign,
    Pay,
    Placed,
    Put,
    Then,
    Withdraw,
    Worked,
)
from simulations.tasks.oracles import Books, Witness
from simulations.tasks.whole_node import WholeNode
from simulations.tasks.workers import WORKERS, Worker
from simulations.worlds.process import Core, Process
from simulations.worlds.trace import Message, Trace

_FIRST_ASKED_MS = 50
_AGAIN_US = 500_000
_RESEND_US = 300_000
_RESENDS = 30
"""A stream's message that is lost so often ends the stream, after nine seconds."""
_OWN_SHARE = 8
"""One task in so many is for the asker's own node."""
_MATES, _AGREEMENT = 3, 2
_MATCHES = ("does not match", "not signed by it", "not one of kind", "another output than")
"""What an asker says of an executor that it has caught."""


@dataclass(frozen=True, slots=True)
class _Errand:
    """What a user wants done, whichever node does it."""

    process: Process
    place: int
    attempt: int
    avoids: frozenset[NodeId]


class Workshop(Federation):
    """See the module. Make one, `run` it once."""

    stores: ClassVar[tuple[Store, ...]] = (*Federation.stores, Store.TASKS)

    def __init__(self, scenario: Scenario, trace: Trace | None = None) -> None:
        self._errands: dict[Digest, _Errand] = {}
        self._placing: dict[tuple[int, bytes], _Errand] = {}
        """What has been asked and has no task's name yet, by asker and input."""
        self._arrives_us: dict[tuple[Name, int], int] = {}
        self._asked = 0
        self._wanted = 0
        self.witness = Witness()
        super().__init__(scenario, trace)
        kinds = {worker.node: worker.kind for worker in scenario.workers}
        self._kinds = kinds
        self._workers = {
            node: WORKERS[kinds[node]](signer) if node in kinds else Worker(signer)
            for node, signer in enumerate(self.identities)
        }
        self._sound = frozenset(one.node for one in self.honest if one.node not in kinds)
        owners = [NodeId(one.public) for one in self.identities[: scenario.founders]]
        self._numbers = {owner: node for node, owner in enumerate(owners)}
        self.books = Books(dict.fromkeys(owners, FOUNDER_AMOUNT), self.verifier)
        self.books.sound = frozenset(owners[node] for node in self._sound)
        self.books.marks = self.witness.marks = self.marks

    def limits(self) -> Parameters:
        tasks = self.scenario.tasks
        return Parameters(max_block_txs=self.scenario.max_block_txs, reveal_ms=tasks.reveal_ms)

    def boot(self, process: Process) -> Core:
        node = process.node
        is_sound = node in self._sound
        return WholeNode(
            identity=self.identities[node],
            tasks=process.stores[Store.TASKS],
            number=node,
            life=process.life + 1,
            kinds=KINDS,
            twist=self._workers[node].twist,
            see=self._saw if is_sound else _look_away,
            **self.engine_parts(process),
        )

    def _plan(self) -> None:
        super()._plan()
        tasks = self.scenario.tasks
        for one in self.honest:
            for place in range(tasks.count):
                due_ms = _FIRST_ASKED_MS + place * tasks.interval_ms
                errand = _Errand(one, place, 0, frozenset())
                self._wanted += 1
                self.at(due_ms * 1000 + one.node, self._ask, errand)

    # Users

    def transfer(self, one: Process) -> None:
        """A user pays somebody, from the node's own account."""
        if one.is_up:
            owners = sorted(self._numbers)
            to = owners[self.draws.below(len(owners), "payee", one.node, self.now_us)]
            self.turn(one, one.life, Pay(Transfer(to, 1)))

    def _ask(self, errand: _Errand) -> None:
        """Choose nodes as the daemon does, and ask; again soon if nobody can be reached."""
        process = errand.process
        node: WholeNode | None = process.core
        ask = None if node is None else self._request(node, errand)
        if node is None or ask is None:
            self.at(self.now_us + _AGAIN_US, self._ask, errand)
            return
        self._asked += errand.attempt == 0
        self.books.truth[content_hash(ask.content)] = content_hash(output_of(ask.kind, ask.content))
        self._placing[process.node, ask.content] = errand
        self.turn(process, process.life, ask)

    def _request(self, node: WholeNode, errand: _Errand) -> Ask | None:
        """What its user hands in, or None if nobody is in reach."""
        tasks, draws = self.scenario.tasks, self.draws
        who = (errand.process.node, errand.place, errand.attempt)
        kind = ("rank", "embed")[draws.below(2, "task kind", *who)]
        in_reach = [one for one in sorted(node.reachable) if one in self._numbers]
        fresh = [one for one in in_reach if one not in errand.avoids] or in_reach
        order = sorted(fresh, key=lambda one: draws.raw(b"places", repr(who).encode() + one))
        is_group = self.scenario.founders >= _MATES and draws.chance(
            tasks.group_ppm, "in a group", *who
        )
        why = "one of several that do the same"
        try:
            if is_group:
                executors = choose_places(kind, node.own, order, GroupSize(_MATES, _AGREEMENT))
            else:
                is_own = draws.below(_OWN_SHARE, "by itself", *who) == 0 and not errand.attempt
                wanted = node.own if is_own or not order else order[0]
                place = choose_place(
                    kind, own=node.own, serves=is_own, candidates=in_reach, wanted=wanted
                )
                executors, why = (place.executor,), place.reason
        except NoPlaceError:
            return None
        by_meaning = is_group and is_compared_by_meaning(kind)
        return Ask(
            kind=kind,
            content=input_of(
                kind, (errand.place * 100 + errand.process.node) * 16 + errand.attempt
            ),
            executors=executors,
            reward=draws.between(1, 500, "reward", *who),
            deadline_ms=errand.process.clock_ms(self.now_us) + tasks.deadline_ms,
            why=why,
            agreement=_AGREEMENT if is_group else 1,
            rule=AgreementRule.ATTESTED if by_meaning else AgreementRule.EQUAL,
        )

    def _on_placed(self, number: int, placed: Placed) -> None:
        errand = self._placing.pop((number, placed.ask.content))
        process, tasks = errand.process, self.scenario.tasks
        kind = placed.ask.kind if len(placed.tasks) == 1 else f"{placed.ask.kind} in a group"
        names = " ".join(one.hex()[:8] for one in placed.tasks)
        executors = " ".join(f"n{self._numbers[one]}" for one in placed.ask.executors)
        self.line(process.name, "asks", f"{kind} {names} of {executors}")
        if len(placed.tasks) == 1:
            self._errands[placed.tasks[0]] = errand
            if errand.attempt:
                self.marks["hand-off placed again"] += 1
        if self.draws.chance(tasks.cancel_ppm, "takes back", process.node, errand.place):
            due_us = self.draws.below(300_000, "taken back", process.node, errand.place)
            self.at(
                self.now_us + due_us, self.turn, process, process.life, Withdraw(placed.tasks[0])
            )

    def _on_record(self, process: Process, record: AskedTask) -> None:
        """A user hears how its task stands; what failed is asked of another node."""
        name = Digest(record.task)
        if process.node in self._sound:
            self.witness.noted(process.core, record)
        if record.is_open:
            return
        self.line(
            process.name, "ended", f"{name.hex()[:8]} {record.stage.value} {record.reason}".rstrip()
        )
        self.marks[f"shown as {record.stage.value}"] += 1
        if any(one in record.reason for one in _MATCHES):
            self.marks["liar found out"] += 1
        errand = self._errands.pop(name, None)
        if (
            errand is not None
            and record.stage is Stage.FAILED
            and errand.attempt < self.scenario.tasks.again
        ):
            avoids = errand.avoids | {NodeId(record.executor)}
            again = _Errand(process, errand.place, errand.attempt + 1, avoids)
            self.at(self.now_us, self._ask, again)

    def has_asked(self, now_ms: int) -> bool:
        return self._asked >= self._wanted and super().has_asked(now_ms)

    def missing(self) -> str:
        lacks = super().missing()
        if lacks:
            return lacks
        for one in self.honest:
            if one.node not in self._sound:
                continue
            node: WholeNode = one.core
            for record in node.desk.asked():
                if record.is_open:
                    named = f"{record.task.hex()[:8]}, {record.stage.value}: {record.reason}"
                    return f"{one.name} still waits for task {named}"
            for name, task in node.ledger.tasks():
                if task.is_open and self._numbers[NodeId(task.submitter)] in self._sound:
                    return f"task {name.hex()[:8]} is {task.state.value} and nobody ends it"
        return ""

    # What its cores want beside the rest

    def carry_other(self, process: Process, effect: Any) -> None:  # noqa: ANN401 - see Hooks
        match effect:
            case Then():
                self._once_synced(process, self._hand_back, process, effect.event)
            case Put():
                data = encode(effect.frame)
                self._once_synced(process, self._travel, process, effect, data)
            case Work():
                self._begin(process, effect)
            case _:
                super().carry_other(process, effect)

    def _hand_back(self, process: Process, event: object) -> None:
        """Not at once: what its turn wants besides comes first."""
        self.at(self.now_us, self.turn, process, process.life, event)

    def _begin(self, process: Process, work: Work) -> None:
        """The backend takes its time; a worker that answers wrongly takes as long."""
        tasks, draws = self.scenario.tasks, self.draws
        who = (process.number, process.life, bytes(work.task))
        done: WorkDone | WorkFailed
        if draws.chance(tasks.fail_ppm, "work fails", bytes(work.task)):
            done = WorkFailed(work.task, "the model stumbled")
        else:
            shift = int(self._kinds.get(process.node) == "wrong_answers")
            output = output_of(work.kind, work.content, shift=shift)
            nonce = draws.raw(b"nonce", repr(who).encode(), 32)
            done = WorkDone(work.task, output, MODEL, Usage(1, 1, 1), nonce)
        due_us = draws.below(tasks.work_ms * 1000 + 1, "work", *who)
        self.at(self.now_us + due_us, self.turn, process, process.life, Worked(done))

    def _travel(self, process: Process, put: Put, data: bytes) -> None:
        """A message of a stream: resent until it is there, and never before the one that was sent first."""
        target = self._by_address[put.to][0]
        if target.core is None:
            return
        draws, now_us, name = self.draws, self.now_us, put.frame.stream
        link = b"%d>%d " % (process.number, target.number) + draws.raw(b"message", data)
        self._sent[link] = count = self._sent.get(link, 0) + 1
        self.messages += 1
        self.message_bytes += len(data)
        due_us = None
        begin_us = now_us
        for resent in range(_RESENDS):
            luck = draws.raw(b"stream luck", b"%d %d " % (count, resent) + link)
            delays = self.wires.deliveries(begin_us, process.node, target.node, luck, len(data))
            if delays:
                due_us = begin_us + delays[0]
                break
            begin_us += _RESEND_US
        if self.trace.wants_messages:
            label = f"stream {name.asker}.{name.life}.{name.number}, {len(data)} bytes"
            arrivals = [] if due_us is None else [due_us]
            self.trace.message(Message(now_us, process.name, target.name, label, arrivals))
        if due_us is None:
            self.marks["stream broke"] += 1
            for one, other in ((process, target), (target, process)):
                event = Broke(NodeId(self._address_of(other)), name)
                self.at(begin_us, self.turn, one, one.life, event)
            return
        place = (name, target.number)
        due_us = self._arrives_us[place] = max(due_us, self._arrives_us.get(place, 0))
        self.at(due_us, self._arrive, process, target, target.life, data)

    def _address_of(self, process: Process) -> bytes:
        return self.identities[process.node].public

    def _arrive(self, sender: Process, target: Process, life: int, data: bytes) -> None:
        if target.core is None or target.life != life:
            return
        self.trace.turn(self.now_us, target.mark, data)
        try:
            frame = decode(data, Frame)
        except DecodeError:
            self.marks["undecodable"] += 1
            return
        peer = NodeId(self._address_of(sender))
        self.turn(target, life, Arrived(peer, frame))

    # Judges and marks

    def _saw(self, node: WholeNode, effect: Any) -> None:  # noqa: ANN401 - see WholeNode
        if isinstance(effect, Countersign):
            self.witness.countersigns(node, effect)
        else:
            self.witness.saw(node, effect)

    def on_restarted(self, process: Process) -> None:
        super().on_restarted(process)
        if process.node in self._sound:
            self.witness.restarted(process.core)
        node: WholeNode = process.core
        if any(
            task.state is TaskState.ASSIGNED and task.executor == node.own
            for _, task in node.ledger.tasks()
        ):
            self.marks["executor crashed at work"] += 1

    def on_notify(self, process: Process, what: Any) -> None:  # noqa: ANN401 - see World
        match what:
            case Placed():
                self._on_placed(process.node, what)
            case AskedTask():
                self._on_record(process, what)
            case BlockExecuted():
                super().on_notify(process, what)
                self.books.executed(process.core.ledger, what.block, what.result)
            case _:
                super().on_notify(process, what)


def _look_away(_node: WholeNode, _effect: Any) -> None:  # noqa: ANN401 - see WholeNode
    """A liar is judged by nobody."""
