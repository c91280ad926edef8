from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consensus.operations.transactions import (
    Operation,
    Remark,
    Transaction,
    TransactionBody,
    Transfer,
    decode_transaction,
    sign_transaction,
)
from gossip.codec import Digest
from gossip.identity import Ed25519Signer, Ed25519Verifier, signing_bytes

KEYS = st.binary(min_size=32, max_size=32)
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Transfer, KEYS, st.integers(1, 2**60)),
    st.builds(Remark, st.binary(max_size=256)),
)
BODIES = st.builds(
    TransactionBody,
    KEYS,
    KEYS,
    st.integers(0, 2**60),
    st.integers(0, 2**60),
    st.lists(OPERATIONS, min_size=1, max_size=40).map(tuple),
)


@given(BODIES, st.binary(min_size=64, max_size=64))
def test_what_is_checked_is_what_was_signed(body: TransactionBody, signature: bytes) -> None:
    signed = signing_bytes("transaction", Digest(body.chain), body)
    one = Transaction.of(body, signature)
    assert one.claim == (body.sender, signed, signature)
    assert decode_transaction(one.raw).claim == one.claim


def test_a_signature_covers_every_part_of_the_body() -> None:
    signer, verifier = Ed25519Signer(bytes(32)), Ed25519Verifier()
    body = TransactionBody(bytes(32), signer.public, 1, 2, (Transfer(b"\x01" * 32, 3),))
    signed = sign_transaction(signer, body)
    assert signed.is_signed(verifier)
    for at, byte in enumerate(signed.raw):
        changed_raw = signed.raw[:at] + bytes([byte ^ 1]) + signed.raw[at + 1 :]
        try:
            changed = decode_transaction(changed_raw)
        except ValueError:
            continue
        assert not changed.is_signed(verifier)
