"""Who there is, for the detector: the ledger's word, the table's rows and the open connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gossip.identity import NodeId
from gossip.membership.gate import Gate
from gossip.membership.mesh import Mesh
from gossip.membership.record_exchange import RecordExchange


class Roster(Protocol):
    """Who there is, as the rest of membership knows."""

    @property
    def tolerated(self) -> int:
        """How many admitted members may lie: f = floor((admitted - 1) / 3)."""

    @property
    def own_incarnation(self) -> int:
        """The number of our newest record."""

    def members(self) -> Sequence[NodeId]:
        """All others that count and have not left."""

    def watched(self) -> Sequence[NodeId]:
        """Those of them that this node asks in its rounds."""

    def connected(self) -> Sequence[NodeId]:
        """Those of them that can be asked directly."""

    def is_far(self, node: NodeId) -> bool:
        """Whether others look after it, whose word is to be awaited before it is dialed just to ask."""

    def friends(self) -> Sequence[NodeId]:
        """Those of the connected that take us for a member too, and will do us a favour."""

    def has_voice(self, node: NodeId) -> bool:
        """Whether what it says of others counts: it is admitted."""

    def incarnation(self, node: NodeId) -> int | None:
        """The number of a member's newest record; None if it is no member."""


class FederationRoster:
    """See `Roster`. While joining our ledger can't tell, and everybody counts."""

    def __init__(self, gate: Gate, exchange: RecordExchange, mesh: Mesh) -> None:
        self._gate, self._exchange, self._mesh = gate, exchange, mesh

    @property
    def tolerated(self) -> int:
        """See `Roster`."""
        others = sum(self.has_voice(node) for node, _ in self._exchange.table.rows())
        return others // 3

    @property
    def own_incarnation(self) -> int:
        """See `Roster`."""
        return self._exchange.own.signed.record.seq

    def members(self) -> list[NodeId]:
        """See `Roster`."""
        return self._mesh.members()

    def watched(self) -> list[NodeId]:
        """See `Roster`."""
        return self._mesh.watched()

    def is_far(self, node: NodeId) -> bool:
        """See `Roster`."""
        return self._mesh.is_far(node)

    def connected(self) -> list[NodeId]:
        """See `Roster`."""
        table = self._exchange.table
        return [
            peer
            for peer, _ in self._gate.links.open()
            if self._gate.is_member(peer) and table.get(peer) is not None
        ]

    def friends(self) -> list[NodeId]:
        """See `Roster`."""
        return [peer for peer, _ in self._exchange.friends()]

    def has_voice(self, node: NodeId) -> bool:
        """See `Roster`."""
        return self._gate.is_joining or self._gate.admitted(node) is not None

    def incarnation(self, node: NodeId) -> int | None:
        """See `Roster`."""
        peer = self._exchange.table.get(node)
        if peer is None or peer.left_seq is not None or not self._gate.counts(node):
            return None
        return peer.record.seq
