"""One federation in virtual time: a heap of events, the real cores, and everything that can go wrong between them.

Events are ordered by (time, counter). A turn hands one event to one engine and carries its effects out, through the
real codec. Whatever a run leaves to luck is drawn by key, so equal scenarios give equal runs, byte for byte.
"""

from __future__ import annotations

import heapq
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from consensus.certificates import Phase
from consensus.engine import (
    BlockExecuted,
    EngineEvent,
    PeerConnected,
    PeerDisconnected,
    Received,
    Started,
    Submit,
    TimerFired,
    initial_writes,
)
from consensus.finality import Diverged, StateCertified
from consensus.genesis import Founder, Parameters, found
from consensus.messages import Blocks, ConsensusMessage, Proposal, ViewChange, Vote
from consensus.reports import Equivocation, Prepared, Timing, ViewEntered
from consensus.transactions import Transaction
from gossip.codec import DecodeError, Wire, decode, encode
from gossip.effects import (
    Broadcast,
    CancelTimer,
    Effect,
    Notify,
    Persist,
    Rejected,
    Send,
    SetTimer,
    Store,
)
from gossip.identity import NodeId
from simulations.adversaries import Garbage, Late
from simulations.attacks import KINDS
from simulations.clients import Client, Joiner
from simulations.draws import Draws
from simulations.network import Wires
from simulations.oracles import Oracles, ViolationError
from simulations.process import Process
from simulations.scenario import Crash, Partition, Pause, Scenario
from simulations.signatures import Keyring
from simulations.trace import Trace

CREATED_MS = 1_700_000_000_000
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""What a transport carries in one frame."""
_TICK_US = 500_000
_TWIN_PERIOD_US = 1_500_000
_FOUNDER_AMOUNT = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run."""

    scenario: Scenario
    violation: str | None
    """The broken invariant, a colon, and what was seen; None if all held."""
    trace_hash: str
    messages: int
    message_bytes: int
    events: int
    height: int
    end_ms: int
    marks: dict[str, int]


class World:
    """See the module. Make one, `run` it once."""

    def __init__(self, scenario: Scenario, trace: Trace | None = None) -> None:
        self.scenario = scenario
        self.trace = trace or Trace()
        self.now_us = 0
        self.messages = self.message_bytes = self.events = 0
        self.marks: Counter[str] = Counter()
        self._draws = Draws(scenario.seed)
        self._wires = Wires(scenario)
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._counter = 0
        self._sent: Counter[bytes] = Counter()
        self._is_done = False
        self._proposed_in: dict[bytes, int] = {}
        self._build()

    # Beginnings

    def _build(self) -> None:
        scenario = self.scenario
        keys = Keyring(self._draws, real=scenario.signatures == "ed25519")
        users = [keys.signer(b"identity", node) for node in range(scenario.nodes)]
        voters = [keys.signer(b"voting", node) for node in range(scenario.nodes)]
        founders = tuple(
            Founder(users[node].public, voters[node].public, weight, _FOUNDER_AMOUNT)
            for node, weight in enumerate(scenario.weights)
        )
        limits = Parameters(max_block_txs=scenario.max_block_txs)
        genesis = found("simulated", CREATED_MS, founders, limits)
        chain, verifier, liars = genesis.federation_id, keys.verifier, scenario.liars
        first_writes = initial_writes(genesis, verifier)
        delays = scenario.delays
        timing = Timing(
            progress_ms=delays.progress_ms,
            progress_cap_ms=delays.progress_cap_ms,
            status_ms=delays.status_ms,
            drift_ms=delays.drift_ms,
        )
        kinds = {actor.node: actor.kind for actor in scenario.actors}
        ids = [NodeId(user.public) for user in users]
        self.processes: list[Process] = []
        for node in range(scenario.nodes):
            kind = kinds.get(node)
            for twin in (0, 1) if kind == "twin" else (None,):
                liar = None
                if kind is not None:
                    liar = KINDS[kind](node, voters[node], chain, self._draws)
                self.processes.append(
                    Process(
                        number=len(self.processes),
                        node=node,
                        node_id=ids[node],
                        voting_key=voters[node],
                        verifier=verifier,
                        genesis=genesis,
                        timing=timing,
                        first_writes=first_writes,
                        skew_ms=scenario.skews_ms[node] if node < len(scenario.skews_ms) else 0,
                        is_honest=node not in liars,
                        liar=liar,
                        twin=twin,
                    )
                )
        self._by_id: dict[NodeId, tuple[Process, ...]] = {
            ids[node]: tuple(one for one in self.processes if one.node == node)
            for node in range(scenario.nodes)
        }
        self.honest = tuple(one for one in self.processes if one.is_honest)
        honest_keys = frozenset(voters[one.node].public for one in self.honest)
        self.oracles = Oracles(chain, verifier, honest_keys)
        self.clients = {
            one.node: Client(one.node, users[one.node], chain, tuple(ids[: scenario.founders]))
            for one in self.honest
        }
        self._joiners = tuple(
            Joiner(at_ms, ids[scenario.founders + place], voters[scenario.founders + place].public)
            for place, at_ms in enumerate(scenario.joiners)
        )
        self._plan()

    def _plan(self) -> None:
        """Put on the heap what the scenario says will happen."""
        scenario = self.scenario
        for process in self.processes:
            late = process.node - scenario.founders
            self._at(0 if late < 0 else scenario.joiners[late] * 1000, self._boot, process)
        for fault in scenario.faults:
            match fault:
                case Crash():
                    self._at(fault.at_ms * 1000, self._crash, fault)
                case Pause():
                    self._at(fault.at_ms * 1000, self._pause, fault)
                case Partition():
                    self._at(fault.at_ms * 1000, self._partition, fault, PeerDisconnected)
                    self._at(fault.until_ms * 1000, self._partition, fault, PeerConnected)
        wanted = scenario.clients
        for one in self.honest:
            if one.node < scenario.founders and (not wanted.only or one.node in wanted.only):
                for place in range(wanted.transactions):
                    round_ = place // wanted.burst
                    self._at((50 + round_ * wanted.interval_ms) * 1000, self._transfer, one)
        self._at(_TICK_US, self._tick)

    def _at(self, time_us: int, act: Callable[..., None], *arguments: object) -> None:
        self._counter += 1
        heapq.heappush(self._heap, (time_us, self._counter, act, arguments))

    # The loop

    def run(self) -> Result:
        """Until everything asked for has happened, an invariant breaks, or time is up."""
        violation: str | None = None
        try:
            self._loop()
        except ViolationError as error:
            violation = str(error)
            self._line("-", "violation", violation)
        return Result(
            scenario=self.scenario,
            violation=violation,
            trace_hash=self.trace.hash,
            messages=self.messages,
            message_bytes=self.message_bytes,
            events=self.events,
            height=self.oracles.height,
            end_ms=self.now_us // 1000,
            marks=dict(sorted(self.marks.items())),
        )

    def _loop(self) -> None:
        deadline_us = (self.scenario.heal_ms + self.scenario.bound_ms) * 1000
        heap = self._heap
        while not self._is_done:
            self.now_us, _, act, arguments = heapq.heappop(heap)
            if self.now_us > deadline_us:
                raise ViolationError("liveness", self._missing())
            self.events += 1
            act(*arguments)

    def _missing(self) -> str:
        """What has not happened though it should have, or nothing."""
        heights = {}
        for one in self.honest:
            if one.engine is None:
                return f"{one.name} is down"
            heights[one.name] = (one.engine.height, one.engine.certified)
        for one in self.honest:
            engine = one.engine
            assert engine is not None
            waiting = [
                transaction.id.hex()[:16]
                for client in self.clients.values()
                for transaction in client.pending.values()
            ]
            if waiting:
                return f"{len(waiting)} transactions never executed, one is {waiting[0]}; heights {heights}"
            if engine.height != self.oracles.height:
                return f"{one.name} stays at height {engine.height} of {self.oracles.height}"
            if engine.certified != engine.height:
                return (
                    f"{one.name} has certificates up to {engine.certified} of {engine.height} only"
                )
            if not {joiner.node for joiner in self._joiners} <= set(engine.validators.nodes):
                return f"{one.name} knows of no seat for somebody who joined"
        return ""

    def _tick(self) -> None:
        """What users do twice a second: ask again, act as operators; and look whether all is done."""
        now_ms = self.now_us // 1000
        for one in self.honest:
            client, engine = self.clients[one.node], one.engine
            if engine is None:
                continue
            for name in [id_ for id_ in client.pending if engine.chain.place_of(id_) is not None]:
                del client.pending[name]
            if client.pending and now_ms % 1000 == 0:
                self._turn(one, one.life, Submit(tuple(client.pending.values())))
            self._operate(one, client, now_ms)
        if now_ms >= self.scenario.heal_ms and self._all_asked(now_ms) and not self._missing():
            self._is_done = True
        self._at(self.now_us + _TICK_US, self._tick)

    def _all_asked(self, now_ms: int) -> bool:
        wanted = self.scenario.clients
        rounds = -(-wanted.transactions // wanted.burst)
        return now_ms >= max((50 + rounds * wanted.interval_ms, *self.scenario.joiners))

    def _operate(self, one: Process, client: Client, now_ms: int) -> None:
        for joiner in self._joiners:
            engine = one.engine
            if engine is None or one.node_id not in engine.validators.nodes:
                return
            member = engine.ledger.member(joiner.node)
            if member is None and one is not self.honest[0]:
                continue
            asked = client.admit(now_ms, joiner, None if member is None else member.role)
            if asked is not None:
                self._turn(one, one.life, Submit((asked,)))

    def _transfer(self, one: Process) -> None:
        transaction = self.clients[one.node].transfer()
        self.oracles.expect_success(transaction.id)
        if one.is_up:
            self._turn(one, one.life, Submit((transaction,)))

    # Faults

    def _boot(self, process: Process) -> None:
        if process.is_up:
            return
        try:
            engine = process.boot()
        except Exception as error:
            raise ViolationError(
                "no exception", f"{process.name} can't start: {error!r}"
            ) from error
        if process.life > 1:
            self.marks["restart"] += 1
            if not engine.replica.entered:
                self.marks["restart while asking for a view"] += 1
            self._line(process.name, "restarted", f"height={engine.height}")
            if process.is_honest:
                self.oracles.restarted(process.number, engine)
        self._turn(process, process.life, Started())
        for other in self.processes:
            if other.is_up and other.node != process.node:
                self._at(
                    self.now_us + 100,
                    self._turn,
                    process,
                    process.life,
                    PeerConnected(other.node_id),
                )
                self._at(
                    self.now_us + 100, self._turn, other, other.life, PeerConnected(process.node_id)
                )

    def _crash(self, fault: Crash) -> None:
        for process in self.processes:
            if process.node != fault.node or not process.is_up:
                continue
            if fault.wipes_votes:
                for store, database in process.stores.items():
                    if store.name == "VOTES":
                        database.wipe()
            if fault.in_turn:
                process.dies_in_turn = fault.down_ms
            else:
                self._die(process, fault.down_ms)

    def _die(self, process: Process, down_ms: int) -> None:
        self.marks["crash"] += 1
        self._line(process.name, "crashed", f"for {down_ms} ms")
        process.die()
        self._at(self.now_us + down_ms * 1000, self._boot, process)
        for other in self.processes:
            if other.is_up and other.node != process.node:
                self._at(
                    self.now_us + 100,
                    self._turn,
                    other,
                    other.life,
                    PeerDisconnected(process.node_id),
                )

    def _pause(self, fault: Pause) -> None:
        self.marks["pause"] += 1
        for process in self.processes:
            if process.node == fault.node:
                process.paused_until_us = self.now_us + fault.for_ms * 1000

    def _partition(self, fault: Partition, event: type[PeerConnected | PeerDisconnected]) -> None:
        """A partition begins, or ends; the event is what nodes hear of it if links close."""
        begins = event is PeerDisconnected
        self.marks["partition"] += begins
        self._line(
            "-", "partition" if begins else "healed", f"{list(fault.side)} {fault.direction}"
        )
        if not fault.closes_links:
            return
        side = [one for one in self.processes if one.node in fault.side]
        rest = [one for one in self.processes if one.node not in fault.side]
        for one in side:
            for other in rest:
                if one.is_up and other.is_up:
                    self._turn(one, one.life, event(other.node_id))
                    self._turn(other, other.life, event(one.node_id))

    # One turn of one core

    def _turn(self, process: Process, life: int, event: EngineEvent) -> None:
        engine = process.engine
        if engine is None or process.life != life:
            return
        if process.paused_until_us > self.now_us:
            self._at(process.paused_until_us, self._turn, process, life, event)
            return
        try:
            effects = engine.handle(process.clock_ms(self.now_us), event)
            if process.is_honest:
                engine.check_invariants()
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise ViolationError(
                "no exception",
                f"{process.name} on {type(event).__name__}: {error!r} in {last.name}, line {last.lineno}",
            ) from error
        if process.liar is not None:
            self._carry(process, process.liar.twist(effects))
        elif process.dies_in_turn is not None and any(isinstance(one, Persist) for one in effects):
            self._carry_in_part(process, effects)
        else:
            self._carry(process, effects)

    def _carry_in_part(self, process: Process, effects: list[Effect]) -> None:
        """The process dies between two effects of this turn."""
        down_ms = process.dies_in_turn
        assert down_ms is not None
        kept = self._draws.below(len(effects), "cut", process.number, process.life)
        self.marks["crash in the middle of a turn"] += 1
        lost = [one.message for one in effects[kept:] if isinstance(one, Broadcast)]
        if any(isinstance(one, Vote) and one.ballot.phase is Phase.COMMIT for one in lost):
            self.marks["crash between prepared and commit"] += 1
        self._carry(process, effects[:kept])
        self._die(process, down_ms)

    def _carry(self, process: Process, effects: list[Any]) -> None:
        for effect in effects:
            match effect:
                case Broadcast():
                    self._send(process, effect.to, effect.message)
                case Send():
                    self._send(process, (effect.to,), effect.message)
                case Persist():
                    process.stores[effect.store].write(effect.writes)
                case SetTimer():
                    token = self._counter
                    process.timers[effect.name] = token
                    due = self.now_us + effect.delay_ms * 1000
                    self._at(due, self._fire, process, process.life, effect.name, token)
                case CancelTimer():
                    process.timers.pop(effect.name, None)
                case Notify():
                    self._note(process, effect.what)
                case Rejected():
                    self.marks["rejected"] += 1
                    if self.trace.is_read:
                        self._line(process.name, "rejected", effect.reason)
                case Late():
                    due = self.now_us + effect.delay_ms * 1000
                    self._at(due, self._carry_late, process, process.life, effect.effect)
                case Garbage():
                    self._transmit(process, effect.to, effect.data)
                case _:
                    raise TypeError(f"no such effect: {effect!r}")

    def _carry_late(self, process: Process, life: int, effect: Effect) -> None:
        if process.is_up and process.life == life:
            self._carry(process, [effect])

    def _fire(self, process: Process, life: int, name: str, token: int) -> None:
        if process.life != life or process.timers.get(name) != token:
            return
        if process.paused_until_us > self.now_us:
            self._at(process.paused_until_us, self._fire, process, life, name, token)
            return
        del process.timers[name]
        self.trace.turn(self.now_us, process.number, name.encode())
        self._turn(process, life, TimerFired(name))

    # Messages

    def _send(self, process: Process, to: tuple[NodeId, ...], message: Wire) -> None:
        if isinstance(message, Proposal | ViewChange):
            self._mark_sent(message)
        if process.is_honest and isinstance(message, Vote | ViewChange):
            self.oracles.sent(process.name, process.stores[Store.VOTES], message)
        self._transmit(process, to, encode(message))

    def _transmit(self, process: Process, to: tuple[NodeId, ...], data: bytes) -> None:
        raw = self._draws.raw
        name = raw(b"message", data)
        now_us, source, size = self.now_us, process.node, len(data)
        if size > MAX_MESSAGE_BYTES and process.is_honest:
            raise ViolationError("bounds", f"{process.name} sends a message of {size} bytes")
        for node_id in to:
            for target in self._by_id[node_id]:
                if (process.twin is not None or target.twin is not None) and not self._is_linked(
                    process, target
                ):
                    continue
                link = b"%d>%d " % (process.number, target.number) + name
                self._sent[link] = count = self._sent[link] + 1
                luck = raw(b"luck", b"%d " % count + link)
                self.messages += 1
                self.message_bytes += size
                for delay in self._wires.deliveries(now_us, source, target.node, luck):
                    self._counter += 1
                    heapq.heappush(
                        self._heap,
                        (
                            now_us + delay,
                            self._counter,
                            self._deliver,
                            (process.node_id, target, data, name),
                        ),
                    )

    def _is_linked(self, one: Process, other: Process) -> bool:
        """Each node sees the one twin, the other or both, for a while."""
        twin, node = (one, other) if one.twin is not None else (other, one)
        seen = self._draws.below(3, "twin", twin.node, node.node, self.now_us // _TWIN_PERIOD_US)
        return seen in (twin.twin, 2)

    def _deliver(self, peer: NodeId, target: Process, data: bytes, name: bytes) -> None:
        if target.engine is None:
            return
        self.trace.turn(self.now_us, target.number, name)
        try:
            message: Any = decode(data, ConsensusMessage)  # type: ignore[arg-type]
        except DecodeError:
            self.marks["undecodable"] += 1
            return
        if type(message) is Blocks and message.blocks:
            self.marks["blocks fetched"] += 1
        if target.liar is not None:
            self._carry(target, target.liar.hear(message))
        self._turn(target, target.life, Received(peer, message))

    # What is noted

    def _note(self, process: Process, what: object) -> None:
        if not process.is_honest:
            return
        engine, number = process.engine, process.number
        assert engine is not None
        match what:
            case BlockExecuted():
                block = what.block
                self.oracles.executed(number, engine, block, what.result)
                if what.result.next_set.epoch != block.header.epoch:
                    self.marks["epoch change"] += 1
                    if self._wires.is_partitioned(self.now_us):
                        self.marks["epoch change under a partition"] += 1
                self._line(
                    process.name,
                    "executed",
                    f"height={block.height} epoch={block.header.epoch}"
                    f" txs={len(block.raw_transactions)} {block.digest.hex()[:12]}",
                )
            case StateCertified():
                self.oracles.certified(number, engine, what.certificate)
            case Diverged():
                self.oracles.diverged(number, what.own.height)
            case Equivocation():
                self.marks["equivocation seen"] += 1
                self.oracles.accused(number, what.voter)
                self._line(process.name, "evidence", f"against {what.voter.hex()[:8]}")
            case ViewEntered():
                if what.view:
                    self.marks["view change"] += 1
                self._line(process.name, "entered", f"epoch={what.epoch} view={what.view}")
            case Prepared():
                self._line(process.name, "prepared", f"height={what.block.height}")
            case _:
                pass

    def _mark_sent(self, message: Wire) -> None:
        match message:
            case Proposal():
                first = self._proposed_in.setdefault(message.block.digest, message.view)
                if first < message.view:
                    self.marks["re-proposal after a view change"] += 1
            case ViewChange() if message.prepared is not None:
                self.marks["view change while prepared"] += 1
            case _:
                pass

    def _line(self, who: str, kind: str, detail: str) -> None:
        self.trace.line(self.now_us, who, kind, detail)


def run(scenario: Scenario, trace: Trace | None = None) -> Result:
    """Run a scenario from beginning to end."""
    return World(scenario, trace).run()


__all__ = ["CREATED_MS", "Result", "Transaction", "World", "run"]
