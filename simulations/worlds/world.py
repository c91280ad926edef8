"""Virtual time for any cores: a heap of events, the nodes, and everything that can go wrong between them.

A core is anything with `handle(now_ms, event) -> effects`; the effects are those of `gossip.effects`. Events are
ordered by (time, counter). A turn hands one event to one core and carries its effects out in order; messages go
through a codec. Whatever a run leaves to luck is drawn by key, so equal scenarios give equal runs, byte for byte.

This module knows nothing of what runs in it. A subclass makes the processes, boots their cores and judges (`Hooks`):
`simulations/federation.py` is the one for Bizra's own cores, `guest_world.py` the one for anybody else's.
"""

from __future__ import annotations

import heapq
import traceback
from collections.abc import Callable, Hashable
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
from simulations.violations import ViolationError
from simulations.worlds.clock import Clock
from simulations.worlds.injection import Injector
from simulations.worlds.lives import SUPERVISOR_MS, Lives
from simulations.worlds.process import Process
from simulations.worlds.result import Result
from simulations.worlds.twisted import Garbage, Late

TICK_US = 500_000
_NEVER_US = 2**62


class World(Lives):
    """See the module. Make one, `run` it once."""

    __slots__ = ()

    # Beginnings

    def populate(self, processes: list[Process]) -> None:
        """Name the nodes of this world, once."""
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
                self.replace_disks(process, error)
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
            down_ms = SUPERVISOR_MS
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
            kind = type(effect)  # compared and not matched: this is asked several times a message
            if kind is Persist:
                self._write(process, effect)
            elif kind is Broadcast:
                self._send(process, effect.to, effect.message)
            elif kind is Notify:
                if not process.is_honest:
                    pass
                elif process.synced_us > self.now_us or process.held:
                    self._once_synced(process, self.on_notify, process, effect.what)
                else:
                    self.on_notify(process, effect.what)
            elif kind is SetTimer:
                token = self._counter
                process.timers[effect.name] = token
                due = self.now_us + process.clock.span_us(effect.delay_ms * 1000)
                self.at(due, self._fire, process, process.life, effect.name, token)
            elif kind is Rejected:
                if effect.cause.is_usual:
                    self._passed_over += 1
                else:
                    self._reject(process, effect.reason)
            elif kind is Send:
                self._send(process, (effect.to,), effect.message)
            elif kind is CancelTimer:
                process.timers.pop(effect.name, None)
            else:
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
                self.transmit(process, effect.to, effect.data)
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
        self.trace.turn(self.now_us, process.mark, name.encode())
        self.turn(process, life, self.vocabulary.timer_fired(name))

    # Messages

    def _send(self, process: Process, to: tuple[Hashable, ...], message: object) -> None:
        self.on_send(process, message)
        label = self.label(message) if self.trace.wants_messages else ""
        data = self.encode(message)
        if process.synced_us > self.now_us or process.held:
            self._once_synced(process, self.transmit, process, to, data, label)
        else:
            self.transmit(process, to, data, label)

    def deliver(self, peer: Hashable, target: Process, data: bytes, name: bytes) -> None:
        if target.core is None:
            return
        now_us = self.now_us
        self.trace.turn(now_us, target.mark, name)
        message = self.decoded.get(data)
        if message is None:
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
