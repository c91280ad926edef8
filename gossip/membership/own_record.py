"""The record of the node itself: what it says, and the sequence number that may never go back.

The number is on disk before a record that carries it is sent. If others show a later record of ours
(the disk was restored from an old copy), we go on above that one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gossip.codec import Digest, Natural, decode_canonical, encode
from gossip.effects import KeyValueReader, Persist, Store
from gossip.identity import NodeId, Signer
from gossip.membership.records import Capability, PeerRecord, SignedRecord, sign_record

_SEQ_KEY = b"own/seq"
_LAST_SEQ = 2**62


@dataclass(frozen=True, slots=True)
class Profile:
    """What a node says of itself. `load` is per mille, `voting_key` 32 bytes."""

    name: str
    addresses: tuple[str, ...]
    capabilities: tuple[Capability, ...]
    load: int
    voting_key: bytes
    version: str


class OwnRecord:
    """Signs anew when told to. Raises `RecordError` when the profile breaks a bound."""

    def __init__(
        self, profile: Profile, signer: Signer, federation: Digest, store: KeyValueReader
    ) -> None:
        self._profile = profile
        self._signer = signer
        self._federation = federation
        kept = store.get(_SEQ_KEY)
        self._seq: int = 0 if kept is None else decode_canonical(kept, Natural)
        self.node = NodeId(signer.public)
        self.signed = self._sign(profile, 0)

    @property
    def profile(self) -> Profile:
        """What the next record will say."""
        return self._profile

    def change(
        self,
        *,
        addresses: tuple[str, ...] | None = None,
        capabilities: tuple[Capability, ...] | None = None,
        load: int | None = None,
    ) -> bool:
        """Say this from the next `renew` on; whether it differs. Raises `RecordError`."""
        old = self._profile
        new = replace(
            old,
            addresses=old.addresses if addresses is None else addresses,
            capabilities=old.capabilities if capabilities is None else capabilities,
            load=old.load if load is None else load,
        )
        self._sign(new, 0)
        self._profile = new
        return new != old

    def renew(self, now_ms: int) -> Persist:
        """Sign with the next number; `signed` may be sent after the returned effect."""
        self._seq += 1
        self.signed = self._sign(self._profile, now_ms)
        return Persist(Store.PEERS, ((_SEQ_KEY, encode(self._seq)),))

    def is_outbid_by(self, signed: SignedRecord) -> bool:
        """Whether others may hold this as our newest word; its signature is still to be checked."""
        if signed.record.seq == self._seq:
            return signed.record != self.signed.record
        return self._seq < signed.record.seq < _LAST_SEQ

    def outbid(self, signed: SignedRecord) -> None:
        """Others hold this record of ours: `renew` goes on above it."""
        self._seq = max(self._seq, signed.record.seq)

    def go_above(self, seq: int) -> None:
        """`renew` goes on above this number, which we have signed before."""
        self._seq = max(self._seq, min(seq, _LAST_SEQ))

    def _sign(self, profile: Profile, now_ms: int) -> SignedRecord:
        record = PeerRecord(
            node=self.node,
            federation=self._federation,
            seq=self._seq,
            name=profile.name,
            addresses=profile.addresses,
            capabilities=profile.capabilities,
            load=profile.load,
            voting_key=profile.voting_key,
            version=profile.version,
            issued_at_ms=now_ms,
        )
        return sign_record(record, self._signer)
