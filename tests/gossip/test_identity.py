"""The pinned verifier on the cases of "Taming the many EdDSAs" on which libraries differ.

Each case is made here from the curve's own arithmetic, so that it is clear why it is what it is.
"""

from __future__ import annotations

from hashlib import sha512

import nacl.bindings as sodium
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import BadSignatureError

from gossip.codec import Digest
from gossip.identity import Ed25519Signer, Ed25519Verifier, Signature, signing_bytes

ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19
SIGN_BIT = 1 << 255

verifier = Ed25519Verifier()
alice = Ed25519Signer(b"alice".ljust(32))
bob = Ed25519Signer(b"bob".ljust(32))

_ROOT = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
"""The y of a point of order 8 (RFC 8032's curve; its negative is the other one)."""

SMALL_ORDER_Y = {
    1: "order 1",
    PRIME - 1: "order 2",
    0: "order 4",
    _ROOT: "order 8",
    PRIME - _ROOT: "order 8, other",
}


def small(number: int) -> bytes:
    return number.to_bytes(32, "little")


def scalar(*parts: bytes) -> int:
    return int.from_bytes(sha512(b"".join(parts)).digest(), "little") % ORDER


def base_times(number: int) -> bytes:
    return sodium.crypto_scalarmult_ed25519_base_noclamp(small(number % ORDER))


def forged(key: bytes) -> tuple[bytes, Signature]:
    """A message and signature that fit the equation SB = R + hA for a key of small order, without any secret.

    hA vanishes when h is a multiple of eight, and one message in eight makes it so.
    """
    nonce_point = base_times(7)
    for attempt in range(1000):
        message = b"pay everything %d" % attempt
        if scalar(nonce_point, key, message) % 8 == 0:
            return message, Signature(nonce_point + small(7))
    raise AssertionError("no message found")


@given(st.binary(max_size=300))
def test_a_signature_holds_for_its_message_and_key_alone(message: bytes) -> None:
    signature = alice.sign(message)
    assert verifier.verify(alice.public, message, signature)
    assert not verifier.verify(bob.public, message, signature)
    assert not verifier.verify(alice.public, message + b"x", signature)


@given(st.integers(0, 511))
def test_no_bit_of_a_signature_may_flip(bit: int) -> None:
    signature = bytearray(alice.sign(b"m"))
    signature[bit // 8] ^= 1 << bit % 8
    assert not verifier.verify(alice.public, b"m", bytes(signature))


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=80))
def test_rubbish_never_raises(public: bytes, message: bytes, signature: bytes) -> None:
    assert not verifier.verify(public, message, signature)


@pytest.mark.parametrize("times", range(1, 8))
def test_s_plus_a_multiple_of_the_order_is_refused(times: int) -> None:
    signature = alice.sign(b"m")
    more = int.from_bytes(signature[32:], "little") + times * ORDER
    assert not verifier.verify(alice.public, b"m", signature[:32] + small(more))


@pytest.mark.parametrize("y", SMALL_ORDER_Y, ids=SMALL_ORDER_Y.get)
@pytest.mark.parametrize("sign", [0, SIGN_BIT], ids=["even x", "odd x"])
def test_keys_of_small_order_sign_nothing(y: int, sign: int) -> None:
    key = small(y | sign)
    message, signature = forged(key)
    assert not verifier.verify(key, message, signature)


@pytest.mark.parametrize("y", range(19))
@pytest.mark.parametrize("sign", [0, SIGN_BIT], ids=["even x", "odd x"])
def test_keys_spelled_with_y_above_the_prime_sign_nothing(y: int, sign: int) -> None:
    key = small(y + PRIME | sign)
    message, signature = forged(key)
    assert not verifier.verify(key, message, signature)


@pytest.mark.parametrize("y", [1, 0, PRIME - 1, PRIME + 1, PRIME, _ROOT], ids=hex)
def test_a_nonce_point_of_small_order_is_refused(y: int) -> None:
    """S = ha fits the cofactored equation for all of them, and the exact one for R = identity."""
    point = small(y)
    s = scalar(point, alice.public, b"m") * scalar_of(alice) % ORDER
    assert not verifier.verify(alice.public, b"m", Signature(point + small(s)))


def scalar_of(signer: Ed25519Signer) -> int:
    wide = bytearray(sha512(signer.seed).digest()[:32])
    wide[0] &= 248
    wide[31] = wide[31] & 127 | 64
    return int.from_bytes(wide, "little")


def test_the_equation_is_checked_with_the_cofactor() -> None:
    """A key with a part of order 8 signs every message; without the cofactor it would hold for one in eight."""
    torsion = small(_ROOT)
    if not sodium.crypto_core_ed25519_is_valid_point(alice.public):
        pytest.fail("alice's key is a point of the main group")
    mixed = sodium.crypto_core_ed25519_add(alice.public, torsion)
    nonce_point = base_times(11)
    seen = set()
    for attempt in range(64):
        message = b"mixed %d" % attempt
        h = scalar(nonce_point, mixed, message)
        s = (11 + h * scalar_of(alice)) % ORDER
        assert verifier.verify(mixed, message, Signature(nonce_point + small(s)))
        assert not verifier.verify(mixed, message + b"!", Signature(nonce_point + small(s)))
        seen.add(h % 8 == 0)
    assert seen == {True, False}


@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32), st.integers(0, 767))
def test_libsodium_says_the_same_of_keys_that_are_made_as_they_should(
    message: bytes, seed: bytes, flipped: int
) -> None:
    signer = Ed25519Signer(seed)
    both = bytearray(signer.public + signer.sign(message))
    assert _sodium_holds(bytes(both), message)
    assert verifier.verify(signer.public, message, bytes(both[32:]))
    both[flipped // 8] ^= 1 << flipped % 8
    held = verifier.verify(bytes(both[:32]), message, bytes(both[32:]))
    assert held == _sodium_holds(bytes(both), message)


def _sodium_holds(both: bytes, message: bytes) -> bool:
    try:
        sodium.crypto_sign_open(both[32:] + message, both[:32])
    except (BadSignatureError, ValueError):
        return False
    return True


@pytest.mark.parametrize("y", range(PRIME, 2**255))
@pytest.mark.parametrize("sign", [0, SIGN_BIT], ids=["even x", "odd x"])
def test_a_nonce_point_spelled_with_y_above_the_prime_is_refused(y: int, sign: int) -> None:
    """S = ha + r for those of them that are points of small order, whose r is nothing under the cofactor."""
    point = small(y | sign)
    s = scalar(point, alice.public, b"m") * scalar_of(alice) % ORDER
    assert not verifier.verify(alice.public, b"m", Signature(point + small(s)))


def test_what_is_signed_names_kind_and_chain() -> None:
    here, there = Digest(bytes(32)), Digest(b"\x01" * 32)
    assert signing_bytes("a", here, 1) != signing_bytes("b", here, 1)
    assert signing_bytes("a", here, 1) != signing_bytes("a", there, 1)


def test_a_signer_never_shows_its_secret() -> None:
    assert alice.seed.hex() not in repr(alice)
    assert str(alice.seed) not in repr(alice)


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Ed25519Signer(b"short")
