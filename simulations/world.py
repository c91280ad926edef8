"""Virtual time for any cores: a heap of events, the nodes, and everything that can go wrong between them.

A core is anything with `handle(now_ms, event) -> effects`; the effects are those of `gossip.effects`. Events are
ordered by (time, counter). A turn hands one event to one core and carries its effects out in order; messages go
through a codec. Whatever a run leaves to luck is drawn by key, so equal scenarios give equal runs, byte for byte.

This module knows nothing of what runs in it. A subclass makes the processes, boots their cores and judges (`Hooks`):
`federation.py` is the one for Bizra's own cores, `guest_world.py` the one for anybody else's.
"""

from __future__ import annotations

import heapq
import re
import traceback
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from gossip.codec import DecodeError
from gossip.effects import (
    Broadcast,
    CancelTimer,
    Notify,
    Persist,
    Rejected,
    Send,
    SetTimer,
)
from simulations.clock import Clock
from simulations.draws import Draws
from simulations.hooks import Hooks, Vocabulary
from simulations.injection import Injector
from simulations.network import Wires
from simulations.process import Process
from simulations.setting import Setting
from simulations.trace import Message, Trace
from simulations.twisted import Garbage, Late
from simulations.violations import ViolationError

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""What a transport carries in one frame."""
TICK_US = 500_000
_TWIN_PERIOD_US = 1_500_000
_NOTICE_US = 100
"""After so long a node knows that a link has opened or closed."""
_SUPERVISOR_MS = 1_000
"""After so long a process that ended by itself is started again."""
_NEVER_US = 2**62
_FLOOD_SPAN_US = 100_000
_FLOOD_MESSAGES = 500
"""So many messages of a liar are read on one link in each span; a daemon holds back whoever wastes its time."""


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
    stopped: str | None = None
    """Why the run ended before everything had happened, if it was told to."""
    states: tuple[str, ...] = ()
    """How each process stood at the end."""


class World(Hooks):
    """See the module. Make one, `run` it once."""

    def __init__(self, setting: Setting, trace: Trace | None = None) -> None:
        self.setting = setting
        self.trace = trace or Trace()
        self.now_us = 0
        self.messages = self.message_bytes = self.events = 0
        self.marks: Counter[str] = Counter()
        self._passed_over = 0
        self.draws = Draws(setting.seed)
        self._luck = self.draws.begun(b"luck")
        self.wires = Wires(setting)
        self.processes: tuple[Process, ...] = ()
        self.honest: tuple[Process, ...] = ()
        self._by_address: dict[Hashable, tuple[Process, ...]] = {}
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._counter = 0
        self._sent: dict[bytes, int] = {}
        self._floods: dict[tuple[int, int], tuple[int, int]] = {}
        self._is_done = False
        self._stopped: str | None = None
        self.break_on: re.Pattern[str] | None = None
        """The run ends after the first transition whose line this is found in."""

    # Beginnings

    def populate(self, processes: list[Process]) -> None:
        """Name the nodes of this world, once, and put on the heap what the setting does to them."""
        self.processes = tuple(processes)
        self.honest = tuple(one for one in processes if one.is_honest)
        for one in processes:
            self._by_address[one.address] = (*self._by_address.get(one.address, ()), one)

    def plan_faults(self) -> None:
        """Put on the heap what the setting says will go wrong."""
        Injector(self).plan()

    def clock_of(self, node: int, created_ms: int = 0) -> Clock:
        """The clock that the setting gives to a node."""
        skews, drifts = self.setting.skews_ms, self.setting.drifts_ppm
        skew_ms = skews[node] if node < len(skews) else 0
        return Clock(created_ms, skew_ms, drifts[node] if node < len(drifts) else 0)

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
        if self._passed_over:
            self.marks["passed over"] = self._passed_over
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
            stopped=self._stopped,
            states=tuple(f"{one.name:<5} {self._state(one)}" for one in self.processes),
        )

    def _state(self, process: Process) -> str:
        if process.core is None:
            return "down"
        timers = ",".join(sorted(process.timers))
        return f"{self.describe(process)} clock={process.clock_ms(self.now_us)} timers={timers}"

    def stop_at(self, until_ms: int) -> None:
        """End the run at this time, whatever has happened by then."""
        self.at(until_ms * 1000, self._stop, f"at {until_ms} ms")

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
            if process.is_rotten:
                self._replace_disks(process, error)
                return
            raise ViolationError(
                "no exception", f"{process.name} can't start: {error!r}"
            ) from error
        if process.life > 1:
            self.marks["restart"] += 1
            self.line(process.name, "restarted", self.describe(process))
            self.on_restarted(process)
        self.turn(process, process.life, self.vocabulary.started())
        if self.vocabulary.connected is not None:
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

    def die(self, process: Process, down_ms: int) -> None:
        """A process loses its memory, and comes back after a while."""
        self.marks["crash"] += 1
        self.line(process.name, "crashed", f"for {down_ms} ms")
        first_lost: int | None = None
        for name, store in process.stores.items():
            if store.unsynced:
                most = store.unsynced + 1
                lost = self.draws.below(most, "unsynced", process.number, process.life, str(name))
                if first_lost is not None:
                    lost = max(lost, store.written_after(first_lost))
                if lost:
                    self.marks["unsynced batches lost"] += 1
                first = store.first_of(lost)
                if first is not None and (first_lost is None or first < first_lost):
                    first_lost = first
                store.lose(lost)
        process.die()
        self.at(self.now_us + down_ms * 1000, self.start, process)
        for other in self._others(process):
            self._tell_soon(other, self.vocabulary.disconnected, process)

    def _replace_disks(self, process: Process, error: Exception) -> None:
        """A core has come upon a damaged record: its operator begins anew."""
        self.marks["damaged disk replaced"] += 1
        self.line(process.name, "damaged", f"{type(error).__name__}: {error}")
        self.renew(process)
        process.is_rotten = False
        self.die(process, _SUPERVISOR_MS)

    # One turn of one core

    def turn(self, process: Process, life: int, event: object) -> None:
        """Hand an event to a core, if its process still lives that life, and carry out what it wants."""
        if process.core is None or process.life != life:
            return
        if process.paused_until_us > self.now_us:
            self.at(process.paused_until_us, self.turn, process, life, event)
            return
        if process.turn_us or process.busy_until_us > self.now_us:
            begin_us = max(self.now_us, process.busy_until_us)
            process.busy_until_us = begin_us + process.turn_us
            if begin_us > self.now_us:
                self.at(begin_us, self._take, process, life, event)
                return
        self._take(process, life, event)

    def _take(self, process: Process, life: int, event: object) -> None:
        core = process.core
        if core is None or process.life != life:
            return
        try:
            effects = core.handle(process.clock.show_ms(self.now_us), event)
            if process.is_honest:
                self.on_turn(process)
        except ViolationError:
            raise
        except Exception as error:
            if process.is_rotten:
                self._replace_disks(process, error)
                return
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise ViolationError(
                "no exception",
                f"{process.name} on {type(event).__name__}: {error!r} in {last.name}, line {last.lineno}",
            ) from error
        if process.liar is not None:
            self._carry(process, process.liar.twist(effects))
        elif (process.dies_in_turn is not None or process.is_full) and any(
            isinstance(one, Persist) for one in effects
        ):
            self._carry_in_part(process, effects)
        elif effects:
            self._carry(process, effects)

    def _carry_in_part(self, process: Process, effects: list[Any]) -> None:
        """The process dies between two effects of this turn, or at the first write that fails."""
        if process.is_full:
            kept = next(at for at, one in enumerate(effects) if isinstance(one, Persist))
            down_ms = _SUPERVISOR_MS
            self.marks["write failed"] += 1
        else:
            assert process.dies_in_turn is not None
            down_ms = process.dies_in_turn
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
                    self._write(process, effect)
                case SetTimer():
                    token = self._counter
                    process.timers[effect.name] = token
                    due = self.now_us + process.clock.span_us(effect.delay_ms * 1000)
                    self.at(due, self._fire, process, process.life, effect.name, token)
                case CancelTimer():
                    process.timers.pop(effect.name, None)
                case Notify():
                    if not process.is_honest:
                        pass
                    elif process.synced_us > self.now_us or process.held:
                        self._once_synced(process, self.on_notify, process, effect.what)
                    else:
                        self.on_notify(process, effect.what)
                case Rejected():
                    if effect.cause.is_usual:
                        self._passed_over += 1
                    else:
                        self._reject(process, effect.reason)
                case _:
                    self._carry_twisted(process, effect)

    def _reject(self, process: Process, reason: str) -> None:
        self.marks["rejected"] += 1
        if self.trace.is_read:
            self.line(process.name, "rejected", reason)

    def _write(self, process: Process, effect: Persist) -> None:
        store = process.stores[effect.store]
        process.batches += 1
        if effect.lazy:
            store.write(effect.writes, lazy=True, number=process.batches)
        elif process.false_sync:
            store.write(effect.writes, _NEVER_US, number=process.batches)
        elif process.sync_us or process.synced_us > self.now_us:
            due_us = process.sync_ends_us(self.now_us)
            store.write(effect.writes, due_us, number=process.batches)
            self.at(due_us, self._synced, process, process.life)
        else:
            store.write(effect.writes)

    def _synced(self, process: Process, life: int) -> None:
        """A sync ends: what waited for it is done."""
        if process.life != life or not process.is_up:
            return
        if process.paused_until_us > self.now_us:
            self.at(process.paused_until_us, self._synced, process, life)
            return
        for store in process.stores.values():
            store.sync(self.now_us)
        held = process.held
        while held and held[0][0] <= self.now_us and process.life == life:
            _, act, arguments = held.popleft()
            act(*arguments)

    def _once_synced(self, process: Process, act: Callable[..., None], *arguments: object) -> None:
        """Nothing leaves a process before what was written in front of it is on disk."""
        if process.synced_us > self.now_us or process.held:
            process.held.append((process.synced_us, act, arguments))
        else:
            act(*arguments)

    def _carry_twisted(self, process: Process, effect: object) -> None:
        match effect:
            case Late():
                due = self.now_us + effect.delay_ms * 1000
                self.at(due, self._carry_late, process, process.life, effect.effect)
            case Garbage():
                self._transmit(process, effect.to, effect.data)
            case _:
                self.carry_other(process, effect)

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
        label = self.label(message) if self.trace.wants_messages else ""
        data = self.encode(message)
        if process.synced_us > self.now_us or process.held:
            self._once_synced(process, self._transmit, process, to, data, label)
        else:
            self._transmit(process, to, data, label)

    def _transmit(
        self, process: Process, to: tuple[Hashable, ...], data: bytes, label: str = "garbage"
    ) -> None:
        sent, drawn = self._sent, self._luck.copy
        name = self.draws.often(b"message", data)
        now_us, source, size = self.now_us, process.node, len(data)
        deliveries, wants_messages = self.wires.deliveries, self.trace.wants_messages
        if size > MAX_MESSAGE_BYTES and process.is_honest:
            raise ViolationError("bounds", f"{process.name} sends a message of {size} bytes")
        for address in to:
            for target in self._by_address[address]:
                if (process.twin is not None or target.twin is not None) and not self._is_linked(
                    process, target
                ):
                    continue
                if not process.is_honest and not self._is_borne(process, target):
                    self.marks["flood held back"] += 1
                    continue
                link = b"%d>%d " % (process.number, target.number) + name
                sent[link] = count = sent.get(link, 0) + 1
                drawing = drawn()
                drawing.update(b"%d " % count + link)
                luck = drawing.digest()
                self.messages += 1
                self.message_bytes += size
                delays = deliveries(now_us, source, target.node, luck, size)
                if wants_messages:
                    arrivals = [now_us + delay for delay in delays]
                    entry = Message(now_us, process.name, target.name, label, arrivals)
                    self.trace.message(entry)
                for delay in delays:
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

    def _is_borne(self, liar: Process, target: Process) -> bool:
        """Whether a liar is still read: two of them that answer each other's noise would fill the world with it."""
        span, link = self.now_us // _FLOOD_SPAN_US, (liar.number, target.number)
        since, count = self._floods.get(link, (span, 0))
        count = count + 1 if since == span else 1
        self._floods[link] = span, count
        return count <= _FLOOD_MESSAGES

    def _is_linked(self, one: Process, other: Process) -> bool:
        """Each node sees the one twin, the other or both, for a while."""
        twin, node = (one, other) if one.twin is not None else (other, one)
        seen = self.draws.below(3, "twin", twin.node, node.node, self.now_us // _TWIN_PERIOD_US)
        return seen in (twin.twin, 2)

    def _deliver(self, peer: Hashable, target: Process, data: bytes, name: bytes) -> None:
        if target.core is None:
            return
        now_us = self.now_us
        self.trace.turn(now_us, target.number, name)
        try:
            message = self.decode(data)
        except DecodeError:
            self.marks["undecodable"] += 1
            return
        self.on_message(message)
        if target.liar is not None:
            self._carry(target, target.liar.hear(message))
        event = self.vocabulary.received(peer, message)
        if target.turn_us or target.busy_until_us > now_us or target.paused_until_us > now_us:
            self.turn(target, target.life, event)
        else:
            self._take(target, target.life, event)

    def line(self, who: str, kind: str, detail: str) -> None:
        """Note a transition; end the run here if it is the one that was waited for."""
        text = self.trace.line(self.now_us, who, kind, detail)
        if self.break_on is not None and self.break_on.search(text):
            self._stop(f"at {text.strip()}")

    def _stop(self, why: str) -> None:
        self._is_done, self._stopped = True, why


__all__ = ["TICK_US", "Result", "Vocabulary", "World"]
