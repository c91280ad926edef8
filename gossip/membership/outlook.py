"""How every other member looks from here: the rows that are shown, and the news when one changes."""

from __future__ import annotations

from gossip.effects import Notify
from gossip.identity import NodeId
from gossip.membership.detector import Detector
from gossip.membership.events import MembershipEffect
from gossip.membership.gate import Gate
from gossip.membership.mesh import Mesh
from gossip.membership.notices import Liveness, PeerEntry, StatusChanged
from gossip.membership.peer_table import Peer
from gossip.membership.record_exchange import RecordExchange
from gossip.membership.records import Capability
from gossip.membership.timing import Timing, spaced


class Outlook:
    """Joins what the table, the ledger, the links and the detector know of a peer."""

    def __init__(
        self,
        gate: Gate,
        exchange: RecordExchange,
        mesh: Mesh,
        detector: Detector,
        timing: Timing,
    ) -> None:
        self._gate, self._exchange, self._mesh = gate, exchange, mesh
        self._detector, self._timing = detector, timing
        self._is_partial = False

    def table(self) -> tuple[PeerEntry, ...]:
        """All other members, in the order of their ids."""
        self._is_partial = self._mesh.is_partial()
        return tuple(
            self._entry(node, peer, self._liveness(node, peer))
            for node, peer in self._exchange.table.rows()
            if self._gate.counts(node)
        )

    def is_there(self, node: NodeId) -> bool:
        """Whether a member that is not connected is alive all the same, and can be dialed."""
        peer = self._exchange.table.get(node)
        return (
            peer is not None
            and self._mesh.in_reach(node)
            and self._liveness(node, peer) is Liveness.ALIVE
        )

    def watch(self, out: list[MembershipEffect], node: NodeId) -> None:
        """Tell if a peer's status has changed."""
        peer = self._exchange.table.get(node)
        if peer is None or not self._gate.counts(node):
            return
        self._detector.renewed(node, peer.record.seq)
        before, peer.shown = peer.shown, self._liveness(node, peer)
        if before is not peer.shown:
            out.append(Notify(StatusChanged(node, peer.record.name, before, peer.shown)))

    def watch_all(self, out: list[MembershipEffect]) -> None:
        """Tell whose status has changed."""
        self._is_partial = self._mesh.is_partial()
        for node, _ in self._exchange.table.rows():
            self.watch(out, node)

    def _liveness(self, node: NodeId, peer: Peer) -> Liveness:
        """Nobody is alive by hearsay: who was never heard is suspect at best.

        Of who is no neighbour in a partial mesh, the signed record that it renews tells that it is there.
        """
        if peer.left_seq is not None:
            return Liveness.LEFT
        if self._detector.is_dead(node):
            return Liveness.DEAD
        if self._detector.is_suspect(node):
            return Liveness.SUSPECT
        is_near = node in self._gate.links or not self._is_partial
        is_there = peer.is_heard if is_near else self._has_spoken(peer)
        return Liveness.ALIVE if is_there else Liveness.SUSPECT

    def _has_spoken(self, peer: Peer) -> bool:
        """Lately, to us or in a record that was newer than another or than our clock makes old."""
        now_ms = self._gate.now_ms
        lasts_ms = spaced(self._timing.lasts_ms, self._exchange.table.members)
        if peer.is_heard and now_ms - (peer.last_seen_ms or 0) < lasts_ms:
            return True
        if peer.renewed_ms is not None and now_ms - peer.renewed_ms < lasts_ms:
            return True
        return abs(now_ms - peer.record.issued_at_ms) < lasts_ms

    def _entry(self, node: NodeId, peer: Peer, status: Liveness) -> PeerEntry:
        return PeerEntry(
            node_id=node,
            name=peer.record.name,
            addresses=peer.addresses(),
            capabilities=self._offered(node, peer),
            status=status,
            role=self._gate.admitted(node),
            last_seen_ms=peer.last_seen_ms,
            rtt_ms=peer.rtt_ms,
            load=peer.record.load,
            version=peer.record.version,
            connected=node in self._gate.links,
            in_reach=node in self._gate.links or (self._is_partial and bool(peer.addresses())),
            clock_offset_ms=peer.clock_offset_ms,
            found=tuple((one, peer.found_ms.get(one, 0)) for one in peer.reached),
        )

    def _offered(self, node: NodeId, peer: Peer) -> tuple[Capability, ...]:
        """What it can do, as long as it was heard lately: who is connected tells at once when that changes."""
        is_near = node in self._gate.links or not (self._is_partial or self._gate.is_joining)
        if is_near:
            silence_ms = self._gate.now_ms - (peer.last_seen_ms or 0)
            # Each is asked once in a round, which takes long among many that are all connected.
            round_ms = self._timing.pace.period_ms * self._exchange.table.members
            is_fresh = peer.is_heard and silence_ms < max(self._timing.capability_ms, 2 * round_ms)
        else:
            is_fresh = self._has_spoken(peer)
        return peer.record.capabilities if is_fresh else ()
