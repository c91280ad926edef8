"""Who a node is: an Ed25519 key, and the one pinned way to check a signature.

A `NodeId` is the raw public key, so whoever holds an id can check what its owner signed. The verifier refuses
non-canonical S, non-canonical and small-order points, checks the equation with the cofactor (ZIP 215), and is never
used in batch mode, so that two honest nodes can't disagree on a signature (Chalkias, Garillot, Nikolaenko 2020, "Taming
the many EdDSAs", whose algorithm 2 this is, but that it lets nonce points of small order be).

Cores get a `Signer` and a `Verifier` passed in; the simulator passes a keyed hash instead of Ed25519.
"""

from __future__ import annotations

from typing import NewType, Protocol

import ed25519_zebra
import nacl.bindings

from gossip.codec import Digest, encode

NodeId = NewType("NodeId", bytes)
"""The raw 32-byte Ed25519 public key of a node's identity. Also names its ledger account."""

PublicKey = NewType("PublicKey", bytes)
"""The raw 32-byte Ed25519 public key that checks votes; not the identity, so that it can be rotated."""

Signature = NewType("Signature", bytes)
"""64 bytes."""

SEED_BYTES = 32
KEY_BYTES = 32
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
    """ed25519-zebra's check of one signature, on points that are spelled in their one way and bind to one message.

    It takes two thirds of libsodium's time. The two differ on keys with a part of small order alone, which nobody's
    key has who made it as RFC 8032 says: there libsodium's equation, without the cofactor, holds for some messages.
    """

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        """See `Verifier.verify`."""
        if len(public) != KEY_BYTES or len(signature) != 2 * KEY_BYTES:
            return False
        nonce_point = signature[:KEY_BYTES]
        if _is_odd(public) or _is_odd(nonce_point):
            return False
        holds: bool = ed25519_zebra.ed_verify(signature, message, public)
        return holds


_PRIME = 2**255 - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
"""The y of a point of order 8; the other ones have its negative."""
_SMALL_Y = (0, 1, _PRIME - 1, _ORDER_8, _PRIME - _ORDER_8)
_SMALL_ORDER = frozenset(
    (y | sign << 255).to_bytes(KEY_BYTES, "little") for y in _SMALL_Y for sign in (0, 1)
)
_HIGH = 0x7F
"""The last byte, but for the sign, of every y from the prime on, and of one canonical y in 128."""


def _is_odd(point: bytes) -> bool:
    """Whether a point is of small order, or spelled with a y that is not below the prime."""
    if point in _SMALL_ORDER:
        return True
    last = point[-1] & _HIGH
    return last == _HIGH and int.from_bytes((*point[:-1], last), "little") >= _PRIME


def signing_bytes(kind: str, chain: Digest, *fields: object) -> bytes:
    """What is really signed: protocol version, kind of statement, chain and its fields, in canonical MessagePack.

    The chain is the hash of the genesis file, so no signature is worth anything in another federation.
    """
    return encode((_PROTOCOL, kind, chain, fields))
