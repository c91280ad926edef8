"""What peers were refused, counted; and how much of this machine's time each may waste.

A message that changes nothing still costs its decoding and often a signature. What that comes to is charged to the
peer that sent it, as are the questions that it asks; whoever has spent its share is read again when the share has grown
back, and meanwhile its own connection fills up. What makes blocks is never charged, nor are the few votes that come
when a quorum has spoken.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import structlog

from gossip.effects import Rejected
from gossip.identity import NodeId

log = structlog.get_logger(__name__)

SHARE = 0.01
"""Seconds of CPU that one peer may waste in a second."""
BURST_S = 0.1
BYTE_S = 0.00000001
"""Encoding, encrypting and sending one byte of an answer, about."""
FRAME_S = 0.00006
"""Carrying, decrypting and decoding a small message, about; charged on top of what was measured."""
LEAST_HOLD_S = 0.1
"""Waking up for each message of a peer that has spent its share would cost more than the message."""

_MAX_PEERS = 2_000


class Refusals:
    """Counts by peer and cause."""

    def __init__(self) -> None:
        self._counts: dict[NodeId, Counter[str]] = {}

    def count(self, refused: Rejected) -> int:
        """One more; how many of this peer and cause there are now."""
        counter = self._counts.get(refused.peer)
        if counter is None:
            if len(self._counts) >= _MAX_PEERS:
                del self._counts[next(iter(self._counts))]
            counter = self._counts[refused.peer] = Counter()
        counter[refused.cause.value] += 1
        return counter[refused.cause.value]

    def tell(self, refused: Rejected) -> None:
        """Count it, and put it in the log at the first, second, fourth, eighth ... time: a flood fills no disk."""
        count = self.count(refused)
        if count & (count - 1) == 0 and not refused.cause.is_usual:
            log.warning(
                "message refused", peer=refused.peer.hex(), reason=refused.reason, times=count
            )

    def rows(self) -> list[tuple[NodeId, str, int]]:
        """Peer, cause and count, in their order."""
        return [
            (peer, cause, count)
            for peer, counter in sorted(self._counts.items())
            for cause, count in sorted(counter.items())
        ]


@dataclass(slots=True)
class _Account:
    level_s: float
    filled_at_s: float


class WasteBudget:
    """A token bucket of CPU time for each peer; it may be overdrawn, and is waited for afterwards."""

    def __init__(self) -> None:
        self._accounts: dict[NodeId, _Account] = {}

    def charge(self, now_s: float, peer: NodeId, spent_s: float) -> float:
        """Take off what a peer has wasted; how long to take no notice of it now, in seconds."""
        account = self._accounts.get(peer)
        if account is None:
            self._make_room(now_s)
            account = self._accounts[peer] = _Account(BURST_S, now_s)
        gained_s = SHARE * (now_s - account.filled_at_s)
        account.level_s = min(BURST_S, account.level_s + gained_s) - spent_s
        account.filled_at_s = now_s
        if account.level_s >= 0:
            return 0.0
        return max(LEAST_HOLD_S, -account.level_s / SHARE)

    def _make_room(self, now_s: float) -> None:
        """Forget those whose share has long grown back; a full account is the same as none."""
        if len(self._accounts) < _MAX_PEERS:
            return
        self._accounts = {
            peer: one
            for peer, one in self._accounts.items()
            if one.level_s + SHARE * (now_s - one.filled_at_s) < BURST_S
        }
