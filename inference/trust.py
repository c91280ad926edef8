"""What this node has found out about its peers' answers: only repeated mismatches cost trust.

One mismatch may be a slip of ours or a model that was replaced a moment ago. From the second on a
peer's trust sinks with their share among its verdicts, and from the third it is not asked any more
while they are a quarter or more. Inconclusive comparisons are counted and change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from msgspec import structs

from gossip.codec import Bytes32, Natural, Sentence, Wire, decode, encode
from gossip.effects import KeyValueReader, Persist, Store
from gossip.identity import NodeId
from inference.audit import Finding, Judgement

REPEATED = 2
DISTRUSTED = 3
_SHARE = 4
FULL = 1000
_KEY = b"trust/"
_MAX_PEERS = 10_000


class Record(Wire, frozen=True):
    """The verdicts about one peer; `reason` is that of the last mismatch."""

    peer: Bytes32
    matches: Natural = 0
    mismatches: Natural = 0
    inconclusive: Natural = 0
    last_ms: Natural = 0
    reason: Sentence = ""

    @property
    def trust(self) -> int:
        """Per mille."""
        if self.mismatches < REPEATED:
            return FULL
        return FULL * self.matches // (self.matches + 2 * self.mismatches)

    @property
    def distrust(self) -> str | None:
        """Why the peer is not asked, or None."""
        verdicts = self.matches + self.mismatches
        if self.mismatches < DISTRUSTED or self.mismatches * _SHARE < verdicts:
            return None
        return (
            f"{self.mismatches} of {verdicts} answers that were checked were not of the model that "
            f"it named ({self.reason}); `bizra-node trust forget` gives it another chance"
        )


class TrustBook:
    """One record a peer, on disk."""

    def __init__(self, reader: KeyValueReader) -> None:
        kept = (decode(raw, Record) for _, raw in reader.scan(_KEY))
        self._records = {NodeId(one.peer): one for one in kept}

    def of(self, peer: NodeId) -> Record:
        """What is known of a peer."""
        return self._records.get(peer, Record(peer))

    def all(self) -> Sequence[Record]:
        """Everybody with a verdict, the least trusted first."""
        return sorted(self._records.values(), key=lambda one: (one.trust, one.peer))

    def note(self, now_ms: int, peer: NodeId, judgement: Judgement) -> list[Persist]:
        """A comparison was made."""
        old = self.of(peer)
        match judgement.finding:
            case Finding.MATCH:
                new = structs.replace(old, matches=old.matches + 1)
            case Finding.MISMATCH:
                reason = judgement.reason[:400]
                new = structs.replace(old, mismatches=old.mismatches + 1, reason=reason)
            case Finding.INCONCLUSIVE:
                new = structs.replace(old, inconclusive=old.inconclusive + 1)
            case _:
                assert_never(judgement.finding)
        writes: list[tuple[bytes, bytes | None]] = []
        if peer not in self._records and len(self._records) >= _MAX_PEERS:
            oldest = min(self._records.values(), key=lambda one: (one.last_ms, one.peer))
            del self._records[NodeId(oldest.peer)]
            writes.append((_KEY + oldest.peer, None))
        self._records[peer] = structs.replace(new, last_ms=now_ms)
        writes.append((_KEY + peer, encode(self._records[peer])))
        return [Persist(Store.WORK, tuple(writes))]

    def forget(self, peer: NodeId) -> list[Persist]:
        """Begin anew with a peer."""
        if self._records.pop(peer, None) is None:
            return []
        return [Persist(Store.WORK, ((_KEY + peer, None),))]
