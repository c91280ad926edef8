"""One running node: an engine, the disk that outlives it, its timers and its clock."""

from __future__ import annotations

from consensus.engine import Engine
from consensus.genesis import Genesis
from consensus.reports import Timing
from gossip.effects import Store, Write
from gossip.identity import NodeId, Signer, Verifier
from simulations.adversaries import Liar
from simulations.disk import MemoryStore


class Process:
    """A node, or one of two twins that share its keys."""

    __slots__ = (
        "_genesis",
        "_timing",
        "_verifier",
        "_voting_key",
        "dies_in_turn",
        "engine",
        "is_honest",
        "liar",
        "life",
        "name",
        "node",
        "node_id",
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
        node_id: NodeId,
        voting_key: Signer,
        verifier: Verifier,
        genesis: Genesis,
        timing: Timing,
        first_writes: tuple[Write, ...],
        skew_ms: int,
        is_honest: bool,
        liar: Liar | None,
        twin: int | None = None,
    ) -> None:
        self.number, self.node, self.node_id, self.twin = number, node, node_id, twin
        self.name = f"n{node}" + ("" if twin is None else "ab"[twin])
        self.is_honest, self.liar, self.skew_ms = is_honest, liar, skew_ms
        self._voting_key, self._verifier, self._genesis = voting_key, verifier, genesis
        self._timing = timing
        self.stores = {Store.CHAIN: MemoryStore(), Store.VOTES: MemoryStore()}
        self.stores[Store.CHAIN].write(first_writes)
        self.engine: Engine | None = None
        self.life = 0
        self.timers: dict[str, int] = {}
        self.paused_until_us = 0
        self.dies_in_turn: int | None = None
        """Down time in milliseconds, once it is to die in the middle of a turn."""

    @property
    def is_up(self) -> bool:
        """Whether its engine runs."""
        return self.engine is not None

    def boot(self) -> Engine:
        """A fresh engine over what the disk has."""
        self.engine = Engine(
            genesis=self._genesis,
            voting_key=self._voting_key,
            verifier=self._verifier,
            chain=self.stores[Store.CHAIN],
            votes=self.stores[Store.VOTES],
            timing=self._timing,
        )
        if self.liar is not None:
            self.liar.engine = self.engine
        self.life += 1
        return self.engine

    def die(self) -> None:
        """Memory is gone, the disk stays."""
        self.engine = None
        self.timers = {}
        self.dies_in_turn = None

    def clock_ms(self, now_us: int) -> int:
        """What its own clock says."""
        return max(0, self._genesis.created_ms + now_us // 1000 + self.skew_ms)
