"""What a node says of itself, signed by its identity key.

A record is worth what its signature is worth, so anybody may pass it on and nobody can alter it.
Of two records of one node the higher `seq` wins; a node never signs two with the same one. The
record goes stale by itself only in what is shown: who is alive is decided by hearing from it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from gossip.codec import (
    Bytes32,
    Bytes64,
    DecodeError,
    Digest,
    Name,
    Natural,
    Wire,
    decode_canonical,
    encode,
)
from gossip.identity import Signer, Verifier, signing_bytes
from gossip.json_form import Coins

MAX_ADDRESSES = 8
MAX_CAPABILITIES = 32

Multiaddr = Annotated[str, msgspec.Meta(min_length=2, max_length=400, pattern=r"^/[!-~]+\Z")]
"""Where a node can be dialed. Whether it makes sense is for the transport to say."""

CapabilityKind = Annotated[str, msgspec.Meta(max_length=16, pattern=r"^[a-z][a-z0-9-]*\Z")]
CapabilityName = Annotated[
    str, msgspec.Meta(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*\Z")
]
Version = Annotated[str, msgspec.Meta(max_length=32, pattern=r"^[!-~]+\Z")]
Slots = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
PerMille = Annotated[int, msgspec.Meta(ge=0, le=1000)]


class RecordError(ValueError):
    """Our own record breaks a rule of its type; the text says which."""


class Capability(Wire, frozen=True):
    """One thing that a node does for others.

    `kind` is its field ("inference", "storage", "compute", "models", "memory"), `name` the task
    kind ("embed") or the model. `model_hash` is that of the weights, None where no model is at
    work. `price` counts the smallest unit of the federation for one task; `free_slots` says how
    many more tasks it would take now.
    """

    kind: CapabilityKind
    name: CapabilityName
    model_hash: Bytes32 | None
    price: Coins
    free_slots: Slots


class PeerRecord(Wire, frozen=True):
    """A node as it describes itself. `issued_at_ms` is its own clock's, and decides nothing."""

    node: Bytes32
    federation: Bytes32
    seq: Natural
    name: Name
    addresses: Annotated[tuple[Multiaddr, ...], msgspec.Meta(max_length=MAX_ADDRESSES)]
    capabilities: Annotated[tuple[Capability, ...], msgspec.Meta(max_length=MAX_CAPABILITIES)]
    load: PerMille
    voting_key: Bytes32
    version: Version
    issued_at_ms: Natural

    def signing_bytes(self) -> bytes:
        """What its node signs."""
        return signing_bytes("peer-record", Digest(self.federation), self)

    def says_the_same(self, other: PeerRecord) -> bool:
        """Whether nothing but `seq` and `issued_at_ms` differs."""
        later = msgspec.structs.replace(other, seq=self.seq, issued_at_ms=self.issued_at_ms)
        return self == later


class SignedRecord(Wire, frozen=True):
    """A record with its node's signature."""

    record: PeerRecord
    signature: Bytes64


def sign_record(record: PeerRecord, signer: Signer) -> SignedRecord:
    """Check the bounds and sign. Raises `RecordError`."""
    try:
        decode_canonical(encode(record), PeerRecord)
    except DecodeError as error:
        raise RecordError(f"this node's own record: {error}") from None
    fault = _unprintable(record)
    if fault is not None:
        raise RecordError(f"this node's own record: {fault}")
    assert record.node == signer.public, "a record is signed by its own node"
    return SignedRecord(record, signer.sign(record.signing_bytes()))


def record_fault(signed: SignedRecord, federation: Digest, verifier: Verifier) -> str | None:
    """Why a decoded record is refused, or None. Costs a signature check."""
    record = signed.record
    if record.federation != federation:
        return "the record belongs to another federation"
    fault = _unprintable(record)
    if fault is not None:
        return fault
    if not verifier.verify(record.node, record.signing_bytes(), signed.signature):
        return "the record is not signed by its node"
    return None


def _unprintable(record: PeerRecord) -> str | None:
    """Names are shown on terminals, so nothing may hide in them."""
    if not record.name.isprintable() or record.name != record.name.strip():
        return "the name has characters that don't print, or blanks at an end"
    return None
