"""Who a node is: an Ed25519 key, and the one pinned way to check a signature.

A `NodeId` is the raw public key, so whoever holds an id can check what its owner signed. The verifier refuses
non-canonical S, non-canonical and small-order points, checks the equation with the cofactor (ZIP 215), and is never
used in batch mode, so that two honest nodes can't disagree on a signature (Chalkias, Garillot, Nikolaenko 2020, "Taming
the many EdDSAs", whose algorithm 2 this is, but that it lets nonce points of small order be).

Cores get a `Signer` and a `Verifier` passed in; the simulator passes a keyed hash instead of Ed25519.
"""

from __future__ import annotations

from typing import NewType, Protocol

import nacl.bindings

from gossip.codec import Digest, encode
from gossip.ed25519 import is_signed

NodeId = NewType("NodeId", bytes)
"""The raw 32-byte Ed25519 public key of a node's identity. Also names its ledger account."""

PublicKey = NewType("PublicKey", bytes)
"""The raw 32-byte Ed25519 public key that checks votes; not the identity, so that it can be rotated."""

Signature = NewType("Signature", bytes)
"""64 bytes."""

SEED_BYTES = 32
_PROTOCOL = "bizra/1"


class Signer(Protocol):
    """Holds one private key and signs with it."""

    @property
    def public(self) -> PublicKey:
        """The key that checks what this signer signs."""

    def sign(self, message: bytes) -> Signature:
        """A deterministic signature over `message`."""


class Verifier(Protocol):
    """Checks signatures; the same for everybody in one federation."""

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        """Whether `signature` over `message` was made by the owner of `public`. Never raises."""


class Ed25519Signer:
    """A private Ed25519 key in memory. Its representation never shows the secret."""

    __slots__ = ("_secret", "_seed", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"an Ed25519 seed has {SEED_BYTES} bytes, this one has {len(seed)}")
        public, self._secret = nacl.bindings.crypto_sign_seed_keypair(seed)
        self._seed = seed
        self.public = PublicKey(public)

    @property
    def node_id(self) -> NodeId:
        """The public key read as a node's identity."""
        return NodeId(self.public)

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes, for the key file and for the transport's own handshake."""
        return self._seed

    def sign(self, message: bytes) -> Signature:
        """See `Signer.sign`."""
        return Signature(nacl.bindings.crypto_sign(message, self._secret)[:64])

    def __repr__(self) -> str:
        return f"Ed25519Signer(public={self.public.hex()})"


class Ed25519Verifier:
    """The check of `gossip.ed25519`."""

    verify = staticmethod(is_signed)


def signing_bytes(kind: str, chain: Digest, *fields: object) -> bytes:
    """What is really signed: protocol version, kind of statement, chain and its fields, in canonical MessagePack.

    The chain is the hash of the genesis file, so no signature is worth anything in another federation.
    """
    return encode((_PROTOCOL, kind, chain, fields))
