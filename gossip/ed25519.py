"""The one pinned way to check an Ed25519 signature, alone here: a process that does nothing else starts quickly.

ed25519-zebra's check of one signature, on points that are spelled in their one way and bind to one message. It takes
two thirds of libsodium's time. The two differ on keys with a part of small order alone, which nobody's key has who made
it as RFC 8032 says: there libsodium's equation, without the cofactor, holds for some messages.
"""

from __future__ import annotations

import ed25519_zebra

_KEY_BYTES = 32

_PRIME = 2**255 - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
"""The y of a point of order 8; the other ones have its negative."""
_SMALL_Y = (0, 1, _PRIME - 1, _ORDER_8, _PRIME - _ORDER_8)
_SMALL_ORDER = frozenset(
    (y | sign << 255).to_bytes(_KEY_BYTES, "little") for y in _SMALL_Y for sign in (0, 1)
)
_HIGH = 0x7F
"""The last byte, but for the sign, of every y from the prime on, and of one canonical y in 128."""


def is_signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` over `message` was made by the owner of `public`. Never raises."""
    if len(public) != _KEY_BYTES or len(signature) != 2 * _KEY_BYTES:
        return False
    nonce_point = signature[:_KEY_BYTES]
    if _is_odd(public) or _is_odd(nonce_point):
        return False
    holds: bool = ed25519_zebra.ed_verify(signature, message, public)
    return holds


def _is_odd(point: bytes) -> bool:
    """Whether a point is of small order, or spelled with a y that is not below the prime."""
    if point in _SMALL_ORDER:
        return True
    last = point[-1] & _HIGH
    return last == _HIGH and int.from_bytes((*point[:-1], last), "little") >= _PRIME
