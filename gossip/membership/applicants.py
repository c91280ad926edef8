"""Who waits to be let in."""

from __future__ import annotations

from dataclasses import dataclass

from gossip.identity import NodeId
from gossip.membership.notices import Applicant
from gossip.membership.records import PeerRecord, SignedRecord

MAX_APPLICANTS = 256


@dataclass(slots=True)
class _Waiting:
    since_ms: int
    signed: SignedRecord | None
    address: str
    connected: bool = True


class Applicants:
    """Bounded: who is gone is dropped first, then who has waited longest."""

    def __init__(self) -> None:
        self._waiting: dict[NodeId, _Waiting] = {}

    def listed(self) -> tuple[Applicant, ...]:
        """All of them, oldest first."""
        return tuple(_shown(node, waiting) for node, waiting in self._waiting.items())

    def arrive(
        self, now_ms: int, node: NodeId, signed: SignedRecord | None, address: str
    ) -> Applicant | None:
        """Note an applicant; the row if it is new."""
        known = self._waiting.get(node)
        if known is not None:
            known.signed = signed or known.signed
            known.address, known.connected = address, True
            return None
        if len(self._waiting) >= MAX_APPLICANTS:
            gone = (other for other, waiting in self._waiting.items() if not waiting.connected)
            del self._waiting[next(gone, next(iter(self._waiting)))]
        self._waiting[node] = _Waiting(now_ms, signed, address)
        return _shown(node, self._waiting[node])

    def leave(self, node: NodeId) -> None:
        """It is connected no more; its application stands."""
        if node in self._waiting:
            self._waiting[node].connected = False

    def admit(self, node: NodeId) -> None:
        """It waits no more."""
        self._waiting.pop(node, None)

    def record_of(self, node: NodeId) -> PeerRecord | None:
        """What it has shown of itself."""
        waiting = self._waiting.get(node)
        return None if waiting is None or waiting.signed is None else waiting.signed.record

    def check_invariants(self) -> None:
        """Bounds hold."""
        assert len(self._waiting) <= MAX_APPLICANTS


def _shown(node: NodeId, waiting: _Waiting) -> Applicant:
    record = None if waiting.signed is None else waiting.signed.record
    return Applicant(
        node_id=node,
        name="" if record is None else record.name,
        addresses=(waiting.address,) if record is None else record.addresses,
        since_ms=waiting.since_ms,
        connected=waiting.connected,
    )
