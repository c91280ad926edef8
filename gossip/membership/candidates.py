"""Who should get a piece of work."""

from __future__ import annotations

from collections.abc import Iterable

from gossip.membership.notices import Liveness, PeerEntry


def candidates(entries: Iterable[PeerEntry], capability: str) -> tuple[PeerEntry, ...]:
    """Those that have it and are alive, in reach and admitted by the ledger.

    Best first: one with a free slot, then the least loaded, the cheapest, the nearest.
    """
    ranked = []
    for entry in entries:
        offers = [offer for offer in entry.capabilities if offer.name == capability]
        is_there = entry.in_reach and entry.status is Liveness.ALIVE and entry.role is not None
        if offers and is_there:
            is_full, price = min((offer.free_slots == 0, offer.price) for offer in offers)
            distance = (entry.rtt_ms is None, entry.rtt_ms or 0)
            ranked.append(((is_full, entry.load, price, distance, entry.node_id), entry))
    return tuple(entry for _, entry in sorted(ranked, key=lambda rank: rank[0]))
