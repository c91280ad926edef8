"""One running node: a core, the disks that outlive it, its timers and its clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Protocol

from simulations.worlds.clock import Clock
from simulations.worlds.disk import MemoryStore


class Core(Protocol):
    """What a world can run: a machine without time, luck or sockets of its own."""

    def handle(self, now_ms: int, event: Any, /) -> list[Any]:  # noqa: ANN401 - each core has its own events
        """Take one event; say what is to be done."""


class Twister(Protocol):
    """What stands between a liar's core and the world."""

    engine: Any
    """The core of its current life; set by the world."""

    def hear(self, message: Any, /) -> list[Any]:  # noqa: ANN401 - each world has its own messages
        """A message came in: what it does before its core does anything."""

    def twist(self, effects: list[Any], /) -> list[Any]:
        """What it does instead of `effects`."""


class Process:
    """A node, or one of two twins that share its keys."""

    __slots__ = (
        "address",
        "batches",
        "busy_until_us",
        "clock",
        "core",
        "dies_in_turn",
        "false_sync",
        "flight_us",
        "held",
        "is_full",
        "is_honest",
        "is_rotten",
        "liar",
        "life",
        "link",
        "mark",
        "name",
        "node",
        "number",
        "paused_until_us",
        "stores",
        "sync_us",
        "synced_us",
        "timers",
        "turn_us",
        "twin",
    )

    def __init__(
        self,
        *,
        number: int,
        node: int,
        address: Hashable,
        stores: dict[Any, MemoryStore],
        clock: Clock,
        sync_us: int = 0,
        is_honest: bool = True,
        liar: Twister | None = None,
        twin: int | None = None,
    ) -> None:
        self.number, self.node, self.address, self.twin = number, node, address, twin
        self.name = f"n{node}" + ("" if twin is None else "ab"[twin])
        self.is_honest, self.liar, self.clock = is_honest, liar, clock
        self.link = b"%d " % number
        """Its number, as the luck of a link to it spells it."""
        self.mark = b" %d " % number
        """Its number, as the trace spells it."""
        self.stores = stores
        """In the order in which they are synced."""
        self.batches = 0
        """How many batches it has written, in all its lives."""
        self.core: Any = None
        """None while it is down."""
        self.life = 0
        self.timers: dict[str, int] = {}
        self.paused_until_us = 0
        self.dies_in_turn: int | None = None
        """Down time in milliseconds, once it is to die in the middle of a turn."""
        self.turn_us = self.busy_until_us = 0
        """What an event costs, and when the last of those that wait will be taken."""
        self.sync_us = sync_us
        self.is_full = self.false_sync = self.is_rotten = False
        self.flight_us = self.synced_us = 0
        """When the sync that is under way ends, and the last that is needed so far."""
        self.held: deque[tuple[int, Callable[..., None], tuple[Any, ...]]] = deque()
        """What is done only after a sync: when, what."""

    @property
    def is_up(self) -> bool:
        """Whether its core runs."""
        return self.core is not None

    def live(self, core: Core) -> None:
        """A life begins."""
        self.core = core
        if self.liar is not None:
            self.liar.engine = core
        self.life += 1

    def die(self) -> None:
        """Memory is gone, the disk stays."""
        self.core = None
        self.timers = {}
        self.dies_in_turn = None
        self.busy_until_us = self.flight_us = self.synced_us = 0
        self.held.clear()

    def sync_ends_us(self, now_us: int) -> int:
        """When a batch written now will be synced: by the next sync, which takes all that came before it begins."""
        if now_us >= self.synced_us:
            self.flight_us = self.synced_us = now_us + self.sync_us
        elif now_us >= self.flight_us:
            self.flight_us = self.synced_us
            self.synced_us += self.sync_us
        elif self.synced_us == self.flight_us:
            self.synced_us += self.sync_us
        return self.synced_us

    def clock_ms(self, now_us: int) -> int:
        """What its own clock says."""
        return self.clock.show_ms(now_us)
