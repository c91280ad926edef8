"""The lives of processes: how one begins, ends, and begins again with what its disks have kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulations.violations import ViolationError
from simulations.worlds.carriage import Carriage
from simulations.worlds.process import Process

SUPERVISOR_MS = 1_000
"""After so long a process that ended by itself is started again."""
_NOTICE_US = 100
"""After so long a node knows that a link has opened or closed."""


class Lives(Carriage):
    """The part of a world that starts processes and lets them die."""

    __slots__ = ()

    def turn(self, process: Process, life: int, event: object) -> None:
        """Hand an event to a core, if its process still lives that life, and carry out what it wants."""
        raise NotImplementedError

    def start(self, process: Process) -> None:
        """Boot a process that is down, and let it and the others know of each other."""
        if process.is_up:
            return
        try:
            process.live(self.boot(process))
        except Exception as error:
            if process.is_rotten:
                self.replace_disks(process, error)
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

    def replace_disks(self, process: Process, error: Exception) -> None:
        """A core has come upon a damaged record: its operator begins anew."""
        self.marks["damaged disk replaced"] += 1
        self.line(process.name, "damaged", f"{type(error).__name__}: {error}")
        self.renew(process)
        process.is_rotten = False
        self.die(process, SUPERVISOR_MS)
