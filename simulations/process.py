"""One running node: a core, the disks that outlive it, its timers and its clock."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

from simulations.disk import MemoryStore


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
        "core",
        "created_ms",
        "dies_in_turn",
        "is_honest",
        "liar",
        "life",
        "name",
        "node",
        "number",
        "paused_until_us",
        "skew_ms",
        "stores",
        "timers",
        "twin",
    )

    def __init__(
        self,
        *,
        number: int,
        node: int,
        address: Hashable,
        stores: dict[Any, MemoryStore],
        created_ms: int = 0,
        skew_ms: int = 0,
        is_honest: bool = True,
        liar: Twister | None = None,
        twin: int | None = None,
    ) -> None:
        self.number, self.node, self.address, self.twin = number, node, address, twin
        self.name = f"n{node}" + ("" if twin is None else "ab"[twin])
        self.is_honest, self.liar, self.skew_ms = is_honest, liar, skew_ms
        self.created_ms = created_ms
        self.stores = stores
        self.core: Any = None
        """None while it is down."""
        self.life = 0
        self.timers: dict[str, int] = {}
        self.paused_until_us = 0
        self.dies_in_turn: int | None = None
        """Down time in milliseconds, once it is to die in the middle of a turn."""

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
        for store in self.stores.values():
            store.power_off()
        self.core = None
        self.timers = {}
        self.dies_in_turn = None

    def clock_ms(self, now_us: int) -> int:
        """What its own clock says."""
        return max(0, self.created_ms + now_us // 1000 + self.skew_ms)
