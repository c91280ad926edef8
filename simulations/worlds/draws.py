"""Randomness by key: what is drawn for one thing never depends on what was drawn for another.

Every draw is a keyed blake2b of (seed, purpose, identity). Take one message or one fault out of a run and everything
else keeps its luck, so a failing run can be shrunk. No state, no order, no floats, no `hash()`.
"""

from __future__ import annotations

from hashlib import blake2b

MILLION = 1_000_000


class Draws:
    """The luck of one seed."""

    __slots__ = ("_begun", "_key")

    def __init__(self, seed: int) -> None:
        self._key = seed.to_bytes(16, "big", signed=True)
        self._begun: dict[bytes, blake2b] = {}

    def raw(self, purpose: bytes, identity: bytes, size: int = 16) -> bytes:
        """`size` bytes (at most 64) for a thing named by `identity`; `purpose` has at most 16 bytes."""
        return blake2b(identity, digest_size=size, key=self._key, person=purpose).digest()

    def often(self, purpose: bytes, identity: bytes) -> bytes:
        """The same as `raw`, for what is drawn for every message: the hash is begun once and then copied."""
        drawn = self.begun(purpose).copy()
        drawn.update(identity)
        return drawn.digest()

    def begun(self, purpose: bytes) -> blake2b:
        """What `often` goes on from; whoever draws at every turn copies it without being asked again."""
        begun = self._begun.get(purpose)
        if begun is None:
            begun = blake2b(digest_size=16, key=self._key, person=purpose)
            self._begun[purpose] = begun
        return begun

    def below(self, bound: int, purpose: str, *identity: object) -> int:
        """A number from 0 up to but without `bound`; identities are told apart by their `repr`."""
        name = repr(identity).encode()
        return int.from_bytes(self.raw(purpose.encode(), name), "big") % bound

    def between(self, low: int, high: int, purpose: str, *identity: object) -> int:
        """A number from `low` to `high`, both included."""
        return low + self.below(high - low + 1, purpose, *identity)

    def chance(self, ppm: int, purpose: str, *identity: object) -> bool:
        """True in `ppm` of a million cases."""
        return self.below(MILLION, purpose, *identity) < ppm
