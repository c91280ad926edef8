"""Carries out the faults of a scenario on a world."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, assert_never

from simulations.worlds.faults import (
    BitRot,
    ClockDrift,
    ClockStep,
    ClockStop,
    Clog,
    Crash,
    Cut,
    FalseSync,
    Fault,
    FullDisk,
    Lag,
    Loss,
    Partition,
    Pause,
    SlowCpu,
    SlowDisk,
    Throttle,
)
from simulations.worlds.lives import Lives
from simulations.worlds.process import Process

_OWN_MARKS = (Crash, Pause, Partition)
"""Counted where they take effect, under names of their own."""


class Injector:
    """The hand of fate in one world."""

    def __init__(self, world: Lives) -> None:
        self._world = world

    def plan(self) -> None:
        """Put every fault on the heap."""
        world, setting = self._world, self._world.setting
        for fault in setting.faults:
            world.at(fault.at_ms * 1000, self._begin, fault)
            if fault.end_ms > fault.at_ms and not isinstance(fault, Crash | Pause | BitRot):
                world.at(fault.end_ms * 1000, self._end, fault)
        if setting.drifts_ppm or any(
            isinstance(fault, ClockStep | ClockDrift) for fault in setting.faults
        ):
            world.at(setting.heal_ms * 1000, self._set_clocks)

    def _hit(self, node: int) -> Iterator[Process]:
        return (one for one in self._world.processes if one.node == node)

    def _begin(self, fault: Fault) -> None:
        world = self._world
        kind = str(fault.__struct_config__.tag)
        if not isinstance(fault, _OWN_MARKS):
            world.marks[kind.replace("_", " ")] += 1
            world.line(_who(fault), kind, _described(fault))
        match fault:
            case Crash():
                self._crash(fault)
            case Pause():
                self._pause(fault)
            case Partition():
                self._partition(fault)
            case BitRot():
                self._rot(fault)
            case SlowCpu() | SlowDisk() | FullDisk() | FalseSync():
                self._set_machine(fault)
            case ClockStep() | ClockDrift() | ClockStop():
                self._set_clock(fault)
            case Cut() | Clog() | Loss() | Lag() | Throttle():
                pass  # the wires know
            case _ as never:
                assert_never(never)

    def _end(self, fault: Fault) -> None:
        world = self._world
        if isinstance(fault, Partition):
            world.line("-", "healed", f"{list(fault.side)} {fault.direction}")
            if fault.closes_links:
                self._tell_across(fault, world.vocabulary.connected)
            return
        for node in fault.nodes_named:
            for process in self._hit(node):
                self._restore(process, fault)
        world.line(_who(fault), "over", str(fault.__struct_config__.tag))

    def _restore(self, process: Process, fault: Fault) -> None:
        match fault:
            case SlowCpu():
                process.turn_us = 0
            case SlowDisk():
                process.sync_us = self._world.setting.disk.sync_us
            case FullDisk():
                process.is_full = False
            case FalseSync():
                process.false_sync = False
                for store in process.stores.values():
                    store.sync_all()
            case ClockDrift():
                process.clock.drift(self._world.now_us, None)
            case ClockStop():
                process.clock.go_on()
            case _:
                pass

    # Processes

    def _crash(self, fault: Crash) -> None:
        world = self._world
        for process in self._hit(fault.node):
            if not process.is_up:
                continue
            if fault.wipes_votes:
                world.wipe_votes(process)
            if fault.in_turn:
                process.dies_in_turn = fault.down_ms
            else:
                world.die(process, fault.down_ms)

    def _pause(self, fault: Pause) -> None:
        world = self._world
        world.marks["pause"] += 1
        world.line(_who(fault), "pause", f"for {fault.for_ms} ms")
        for process in self._hit(fault.node):
            process.paused_until_us = world.now_us + fault.for_ms * 1000

    def _set_machine(self, fault: SlowCpu | SlowDisk | FullDisk | FalseSync) -> None:
        for process in self._hit(fault.node):
            match fault:
                case SlowCpu():
                    process.turn_us = fault.turn_us
                case SlowDisk():
                    process.sync_us = fault.sync_us
                case FullDisk():
                    process.is_full = True
                case FalseSync():
                    process.false_sync = True

    def _rot(self, fault: BitRot) -> None:
        world = self._world
        for process in self._hit(fault.node):
            stores = [store for store in process.stores.values() if store.scan(b"")]
            if not stores:
                continue
            chosen = world.draws.below(len(stores), "rotten-store", process.number, fault.at_ms)
            key = stores[chosen].rot(
                world.draws, process.number, fault.at_ms, unchecked=fault.unchecked
            )
            process.is_rotten = True
            if process.is_up and key is not None:
                world.die(process, fault.down_ms)

    # Clocks

    def _set_clock(self, fault: ClockStep | ClockDrift | ClockStop) -> None:
        now_us = self._world.now_us
        for process in self._hit(fault.node):
            match fault:
                case ClockStep():
                    process.clock.step(fault.by_ms)
                case ClockDrift():
                    process.clock.drift(now_us, fault.by_ppm)
                case ClockStop():
                    process.clock.stop(now_us)

    def _set_clocks(self) -> None:
        for process in self._world.processes:
            process.clock.set_right(self._world.now_us)

    # Networks

    def _partition(self, fault: Partition) -> None:
        world = self._world
        world.marks["partition"] += 1
        world.line("-", "partition", f"{list(fault.side)} {fault.direction}")
        if fault.closes_links:
            self._tell_across(fault, world.vocabulary.disconnected)

    def _tell_across(self, fault: Partition, event: Callable[[Any], object] | None) -> None:
        if event is None:
            return
        world = self._world
        side = [one for one in world.processes if one.node in fault.side]
        rest = [one for one in world.processes if one.node not in fault.side]
        for one in side:
            for other in rest:
                if one.is_up and other.is_up:
                    world.turn(one, one.life, event(other.address))
                    world.turn(other, other.life, event(one.address))


def _who(fault: Fault) -> str:
    named = fault.nodes_named
    return f"n{named[0]}" if len(named) == 1 else "-"


def _described(fault: Fault) -> str:
    """Every field but the kind and the time, as in the file."""
    fields = [name for name in fault.__struct_fields__ if name not in ("at_ms", "node")]
    return " ".join(f"{name}={_short(getattr(fault, name))}" for name in fields)


def _short(value: object) -> str:
    return str(list(value)).replace(" ", "") if isinstance(value, tuple) else str(value)
