"""Signatures that cost a microsecond: a keyed hash in the place of Ed25519.

Within one world they are as unforgeable as real ones: to sign for a key one needs its signer, and nobody in the world
is given another's. A share of the seeds runs Ed25519, so that the real path is exercised too.
"""

from __future__ import annotations

from hashlib import blake2b

from gossip.identity import Ed25519Signer, Ed25519Verifier, PublicKey, Signature, Signer, Verifier
from simulations.worlds.draws import Draws

_KEY_BYTES = 32
_REMEMBERED = 4096
_KEPT_BYTES = 1024


class KeyedHash:
    """The verifier of one world; it alone knows the secret that its signers sign with.

    What was signed is checked by everybody who hears of it, so the newest signatures are kept.
    """

    __slots__ = ("_begun", "_known")

    def __init__(self, secret: bytes) -> None:
        self._begun = blake2b(key=secret).copy
        self._known: dict[tuple[bytes, bytes], Signature] = {}

    def signature(self, public: bytes, message: bytes) -> Signature:
        """What the signer of `public` writes under `message`."""
        known = self._known.get((public, message))
        if known is not None:
            return known
        hashing = self._begun()
        hashing.update(public + message)
        signed = Signature(hashing.digest())
        if len(message) <= _KEPT_BYTES:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[public, message] = signed
        return signed

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        """See `gossip.identity.Verifier`."""
        return self.signature(public, message) == signature and len(public) == _KEY_BYTES


class Remembering:
    """A verifier that is asked about the same signatures again and again: each that holds is checked once."""

    __slots__ = ("_sound", "_verifier")

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._sound: set[tuple[bytes, bytes, bytes]] = set()

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        """See `gossip.identity.Verifier`."""
        asked = (public, message, signature)
        if asked in self._sound:
            return True
        holds = self._verifier.verify(public, message, signature)
        if holds:
            if len(self._sound) >= _REMEMBERED:
                self._sound.clear()
            self._sound.add(asked)
        return holds


class KeyedHashSigner:
    """Signs for one public key of one world."""

    __slots__ = ("_world", "public")

    def __init__(self, world: KeyedHash, public: PublicKey) -> None:
        self._world, self.public = world, public

    def sign(self, message: bytes) -> Signature:
        """See `gossip.identity.Signer`."""
        return self._world.signature(self.public, message)


class Keyring:
    """All keys of one world, made from its seed."""

    def __init__(self, draws: Draws, *, real: bool) -> None:
        self._draws = draws
        self._world = KeyedHash(draws.raw(b"world-secret", b"", 32))
        self._real = real

    @property
    def verifier(self) -> Verifier:
        """Checks what this world's signers sign."""
        return Ed25519Verifier() if self._real else self._world

    def signer(self, purpose: bytes, index: int) -> Signer:
        """The key of a node for a purpose."""
        seed = self._draws.raw(purpose, index.to_bytes(4, "big"), _KEY_BYTES)
        return Ed25519Signer(seed) if self._real else KeyedHashSigner(self._world, PublicKey(seed))
