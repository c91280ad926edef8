"""Virtual time for any cores: a heap of events, the nodes, and everything that can go wrong between them.

A core is anything with `handle(now_ms, event) -> effects`; the effects are those of `gossip.effects`. Events are
ordered by (time, counter). A turn hands one event to one core and carries its effects out in order; messages go
through a codec. Whatever a run leaves to luck is drawn by key, so equal scenarios give equal runs, byte for byte.

This module knows nothing of what runs in it. A subclass makes the processes, boots their cores, says in which classes
events come (`Vocabulary`), and judges: `federation.py` is the one for Bizra's own cores.
"""

from __future__ import annotations

import heapq
import traceback
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from gossip.codec import DecodeError, encode
from gossip.effects import (
    Broadcast,
    CancelTimer,
    Notify,
    Persist,
    Rejected,
    Send,
    SetTimer,
)
from simulations.draws import Draws
from simulations.network import Wires
from simulations.process import Core, Process
from simulations.setting import Crash, Partition, Pause, Setting
from simulations.trace import Trace
from simulations.twisted import Garbage, Late
from simulations.violations import ViolationError

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""What a transport carries in one frame."""
TICK_US = 500_000
_TWIN_PERIOD_US = 1_500_000
_NOTICE_US = 100
"""After so long a node knows that a link has opened or closed."""


class Vocabulary(NamedTuple):
    """In which classes a core is told of things."""

    started: Callable[[], object]
    received: Callable[[Any, Any], object]
    """Takes the sender's address and the message."""
    timer_fired: Callable[[str], object]
    connected: Callable[[Any], object] | None = None
    """Takes a peer's address. None: the core isn't told."""
    disconnected: Callable[[Any], object] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run."""

    scenario: Setting
    violation: str | None
    """The broken invariant, a colon, and what was seen; None if all held."""
    trace_hash: str
    messages: int
    message_bytes: int
    events: int
    height: int
    """How far the nodes came, in whatever they count."""
    end_ms: int
    marks: dict[str, int]


class World:
    """See the module. Make one, `run` it once."""

    vocabulary: ClassVar[Vocabulary]

    def __init__(self, setting: Setting, trace: Trace | None = None) -> None:
        self.setting = setting
        self.trace = trace or Trace()
        self.now_us = 0
        self.messages = self.message_bytes = self.events = 0
        self.marks: Counter[str] = Counter()
        self.draws = Draws(setting.seed)
        self.wires = Wires(setting)
        self.processes: tuple[Process, ...] = ()
        self.honest: tuple[Process, ...] = ()
        self._by_address: dict[Hashable, tuple[Process, ...]] = {}
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._counter = 0
        self._sent: Counter[bytes] = Counter()
        self._is_done = False

    # What a subclass says

    def boot(self, process: Process) -> Core:
        """A fresh core over what the disk of `process` has."""
        raise NotImplementedError

    def decode(self, data: bytes) -> object:
        """A message from its bytes. Raises `DecodeError`."""
        raise NotImplementedError

    def encode(self, message: Any) -> bytes:  # noqa: ANN401 - each world has its own messages
        """The bytes of a message."""
        return encode(message)

    def missing(self) -> str:
        """What has not happened though it should have, in a sentence; empty once all has."""
        return ""

    def has_asked(self, now_ms: int) -> bool:  # noqa: ARG002 - nothing is asked for here
        """Whether everything that users are going to ask for has been asked for."""
        return True

    def height(self) -> int:
        """How far the nodes came."""
        return 0

    def on_tick(self, now_ms: int) -> None:
        """What users do twice a second."""

    def on_restarted(self, process: Process) -> None:
        """A process is back from a crash, its core not yet started."""

    def on_turn(self, process: Process) -> None:
        """An honest core has taken an event."""

    def on_cut(self, lost: list[Any]) -> None:
        """A process died in the middle of a turn and never did this."""

    def on_send(self, process: Process, message: Any) -> None:  # noqa: ANN401
        """A process sends a message; what it persisted before is on its disk."""

    def on_message(self, message: Any) -> None:  # noqa: ANN401
        """A message arrives."""

    def on_notify(self, process: Process, what: Any) -> None:  # noqa: ANN401
        """An honest core noted something."""

    # Beginnings

    def populate(self, processes: list[Process]) -> None:
        """Name the nodes of this world, once, and put on the heap what the setting does to them."""
        self.processes = tuple(processes)
        self.honest = tuple(one for one in processes if one.is_honest)
        for one in processes:
            self._by_address[one.address] = (*self._by_address.get(one.address, ()), one)

    def plan_faults(self) -> None:
        """Put on the heap what the setting says will go wrong."""
        for fault in self.setting.faults:
            match fault:
                case Crash():
                    self.at(fault.at_ms * 1000, self._crash, fault)
                case Pause():
                    self.at(fault.at_ms * 1000, self._pause, fault)
                case Partition():
                    self.at(fault.at_ms * 1000, self._partition_begins, fault)
                    self.at(fault.until_ms * 1000, self._partition_ends, fault)

    def at(self, time_us: int, act: Callable[..., None], *arguments: object) -> None:
        """Do this then."""
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
            self.line("-", "violation", violation)
        return Result(
            scenario=self.setting,
            violation=violation,
            trace_hash=self.trace.hash,
            messages=self.messages,
            message_bytes=self.message_bytes,
            events=self.events,
            height=self.height(),
            end_ms=self.now_us // 1000,
            marks=dict(sorted(self.marks.items())),
        )

    def _loop(self) -> None:
        deadline_us = (self.setting.heal_ms + self.setting.bound_ms) * 1000
        heap = self._heap
        while not self._is_done:
            self.now_us, _, act, arguments = heapq.heappop(heap)
            if self.now_us > deadline_us:
                raise ViolationError("liveness", self.missing())
            self.events += 1
            act(*arguments)

    def tick(self) -> None:
        """Let users act, look whether all is done, and come again. The subclass starts it."""
        now_ms = self.now_us // 1000
        self.on_tick(now_ms)
        if now_ms >= self.setting.heal_ms and self.has_asked(now_ms) and not self.missing():
            self._is_done = True
        self.at(self.now_us + TICK_US, self.tick)

    # Faults

    def start(self, process: Process) -> None:
        """Boot a process that is down, and let it and the others know of each other."""
        if process.is_up:
            return
        try:
            process.live(self.boot(process))
        except Exception as error:
            raise ViolationError(
                "no exception", f"{process.name} can't start: {error!r}"
            ) from error
        if process.life > 1:
            self.marks["restart"] += 1
            self.on_restarted(process)
        self.turn(process, process.life, self.vocabulary.started())
        for other in self._others(process):
            self._tell_soon(process, self.vocabulary.connected, other)
            self._tell_soon(other, self.vocabulary.connected, process)

    def _others(self, process: Process) -> list[Process]:
        return [one for one in self.processes if one.is_up and one.node != process.node]

    def _tell_soon(
        self, process: Process, event: Callable[[Any], object] | None, peer: Process
    ) -> None:
        if event is not None:
            due = self.now_us + _NOTICE_US
            self.at(due, self.turn, process, process.life, event(peer.address))

    def _crash(self, fault: Crash) -> None:
        for process in self.processes:
            if process.node != fault.node or not process.is_up:
                continue
            if fault.wipes_votes:
                self.wipe_votes(process)
            if fault.in_turn:
                process.dies_in_turn = fault.down_ms
            else:
                self.die(process, fault.down_ms)

    def wipe_votes(self, process: Process) -> None:
        """The disk with what a process has promised is replaced by an empty one. By default: all its disks."""
        for store in process.stores.values():
            store.wipe()

    def die(self, process: Process, down_ms: int) -> None:
        """A process loses its memory, and comes back after a while."""
        self.marks["crash"] += 1
        self.line(process.name, "crashed", f"for {down_ms} ms")
        process.die()
        self.at(self.now_us + down_ms * 1000, self.start, process)
        for other in self._others(process):
            self._tell_soon(other, self.vocabulary.disconnected, process)

    def _pause(self, fault: Pause) -> None:
        self.marks["pause"] += 1
        for process in self.processes:
            if process.node == fault.node:
                process.paused_until_us = self.now_us + fault.for_ms * 1000

    def _partition_begins(self, fault: Partition) -> None:
        self.marks["partition"] += 1
        self.line("-", "partition", f"{list(fault.side)} {fault.direction}")
        if fault.closes_links:
            self._tell_across(fault, self.vocabulary.disconnected)

    def _partition_ends(self, fault: Partition) -> None:
        self.line("-", "healed", f"{list(fault.side)} {fault.direction}")
        if fault.closes_links:
            self._tell_across(fault, self.vocabulary.connected)

    def _tell_across(self, fault: Partition, event: Callable[[Any], object] | None) -> None:
        if event is None:
            return
        side = [one for one in self.processes if one.node in fault.side]
        rest = [one for one in self.processes if one.node not in fault.side]
        for one in side:
            for other in rest:
                if one.is_up and other.is_up:
                    self.turn(one, one.life, event(other.address))
                    self.turn(other, other.life, event(one.address))

    # One turn of one core

    def turn(self, process: Process, life: int, event: object) -> None:
        """Hand an event to a core, if its process still lives that life, and carry out what it wants."""
        core = process.core
        if core is None or process.life != life:
            return
        if process.paused_until_us > self.now_us:
            self.at(process.paused_until_us, self.turn, process, life, event)
            return
        try:
            effects = core.handle(process.clock_ms(self.now_us), event)
            if process.is_honest:
                self.on_turn(process)
        except ViolationError:
            raise
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

    def _carry_in_part(self, process: Process, effects: list[Any]) -> None:
        """The process dies between two effects of this turn."""
        down_ms = process.dies_in_turn
        assert down_ms is not None
        kept = self.draws.below(len(effects), "cut", process.number, process.life)
        self.marks["crash in the middle of a turn"] += 1
        self.on_cut(effects[kept:])
        self._carry(process, effects[:kept])
        self.die(process, down_ms)

    def _carry(self, process: Process, effects: list[Any]) -> None:
        for effect in effects:
            match effect:
                case Broadcast():
                    self._send(process, effect.to, effect.message)
                case Send():
                    self._send(process, (effect.to,), effect.message)
                case Persist():
                    process.stores[effect.store].write(effect.writes, lazy=effect.lazy)
                case SetTimer():
                    token = self._counter
                    process.timers[effect.name] = token
                    due = self.now_us + effect.delay_ms * 1000
                    self.at(due, self._fire, process, process.life, effect.name, token)
                case CancelTimer():
                    process.timers.pop(effect.name, None)
                case Notify():
                    if process.is_honest:
                        self.on_notify(process, effect.what)
                case Rejected():
                    self.marks["rejected"] += 1
                    if self.trace.is_read:
                        self.line(process.name, "rejected", effect.reason)
                case _:
                    self._carry_twisted(process, effect)

    def _carry_twisted(self, process: Process, effect: object) -> None:
        match effect:
            case Late():
                due = self.now_us + effect.delay_ms * 1000
                self.at(due, self._carry_late, process, process.life, effect.effect)
            case Garbage():
                self._transmit(process, effect.to, effect.data)
            case _:
                raise TypeError(f"no such effect: {effect!r}")

    def _carry_late(self, process: Process, life: int, effect: object) -> None:
        if process.is_up and process.life == life:
            self._carry(process, [effect])

    def _fire(self, process: Process, life: int, name: str, token: int) -> None:
        if process.life != life or process.timers.get(name) != token:
            return
        if process.paused_until_us > self.now_us:
            self.at(process.paused_until_us, self._fire, process, life, name, token)
            return
        del process.timers[name]
        self.trace.turn(self.now_us, process.number, name.encode())
        self.turn(process, life, self.vocabulary.timer_fired(name))

    # Messages

    def _send(self, process: Process, to: tuple[Hashable, ...], message: object) -> None:
        self.on_send(process, message)
        self._transmit(process, to, self.encode(message))

    def _transmit(self, process: Process, to: tuple[Hashable, ...], data: bytes) -> None:
        raw = self.draws.raw
        name = raw(b"message", data)
        now_us, source, size = self.now_us, process.node, len(data)
        if size > MAX_MESSAGE_BYTES and process.is_honest:
            raise ViolationError("bounds", f"{process.name} sends a message of {size} bytes")
        for address in to:
            for target in self._by_address[address]:
                if (process.twin is not None or target.twin is not None) and not self._is_linked(
                    process, target
                ):
                    continue
                link = b"%d>%d " % (process.number, target.number) + name
                self._sent[link] = count = self._sent[link] + 1
                luck = raw(b"luck", b"%d " % count + link)
                self.messages += 1
                self.message_bytes += size
                for delay in self.wires.deliveries(now_us, source, target.node, luck):
                    self._counter += 1
                    heapq.heappush(
                        self._heap,
                        (
                            now_us + delay,
                            self._counter,
                            self._deliver,
                            (process.address, target, data, name),
                        ),
                    )

    def _is_linked(self, one: Process, other: Process) -> bool:
        """Each node sees the one twin, the other or both, for a while."""
        twin, node = (one, other) if one.twin is not None else (other, one)
        seen = self.draws.below(3, "twin", twin.node, node.node, self.now_us // _TWIN_PERIOD_US)
        return seen in (twin.twin, 2)

    def _deliver(self, peer: Hashable, target: Process, data: bytes, name: bytes) -> None:
        if target.core is None:
            return
        self.trace.turn(self.now_us, target.number, name)
        try:
            message = self.decode(data)
        except DecodeError:
            self.marks["undecodable"] += 1
            return
        self.on_message(message)
        if target.liar is not None:
            self._carry(target, target.liar.hear(message))
        self.turn(target, target.life, self.vocabulary.received(peer, message))

    def line(self, who: str, kind: str, detail: str) -> None:
        """Note a transition."""
        self.trace.line(self.now_us, who, kind, detail)
