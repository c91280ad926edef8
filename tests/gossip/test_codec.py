from __future__ import annotations

from typing import Annotated

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.operations.transactions import (
    AdmitObserver,
    ApproveValidator,
    ClaimTask,
    FailTask,
    Operation,
    SubmitTask,
    Transaction,
    TransactionBody,
    Transfer,
    decode_transaction,
)
from consensus.operations.validators import (
    ActivateValidator,
    ApproveExpulsion,
    ApproveParameter,
    ApproveRemoval,
    Delegate,
    LeaveValidators,
    RegisterValidator,
    ReportEquivocation,
    RotateVotingKey,
    SignedDigest,
    SignedKind,
    Stake,
    Undelegate,
    Unstake,
)
from gossip.codec import DecodeError, Natural, Wire, decode, decode_canonical, digest, encode

ids = st.binary(min_size=32, max_size=32)
naturals = st.integers(0, 2**63 - 1)
amounts = st.integers(1, 2**63 - 1)
signatures = st.binary(min_size=64, max_size=64)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=16)
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Transfer, ids, st.integers(1, 2**63 - 1)),
    st.builds(SubmitTask, names, ids, naturals, st.none() | ids, naturals),
    st.builds(ClaimTask, ids),
    st.builds(FailTask, ids, names),
    st.builds(AdmitObserver, ids, st.none() | ids),
    st.builds(ApproveValidator, ids, ids),
    st.builds(Stake, amounts),
    st.builds(Unstake, amounts),
    st.builds(Delegate, ids, amounts),
    st.builds(Undelegate, ids, amounts),
    st.builds(RegisterValidator, ids, names, naturals, signatures),
    st.builds(ActivateValidator, naturals, signatures),
    st.builds(LeaveValidators),
    st.builds(RotateVotingKey, ids, signatures),
    st.builds(
        ReportEquivocation,
        ids,
        st.sampled_from(SignedKind),
        naturals,
        naturals,
        naturals,
        st.builds(SignedDigest, ids, signatures),
        st.builds(SignedDigest, ids, signatures),
    ),
    st.builds(ApproveRemoval, ids),
    st.builds(ApproveExpulsion, ids),
    st.builds(ApproveParameter, names, naturals),
)
transactions = st.builds(
    Transaction.of,
    st.builds(
        TransactionBody,
        ids,
        ids,
        naturals,
        naturals,
        st.lists(operations, min_size=1, max_size=3).map(tuple),
    ),
    st.binary(min_size=64, max_size=64),
)


class Point(Wire, frozen=True):
    x: Natural
    label: Annotated[str, msgspec.Meta(max_length=4)]
    raw: bytes = b""


@given(transactions)
def test_what_is_encoded_decodes_to_itself(transaction: Transaction) -> None:
    assert transaction.raw == encode((transaction.body, transaction.signature))
    assert decode_transaction(transaction.raw) == transaction


@given(transactions)
def test_an_independent_decoder_reads_the_same_fields(transaction: Transaction) -> None:
    body, signature = msgpack.unpackb(transaction.raw, strict_map_key=True)
    assert signature == transaction.signature
    assert body[:4] == [
        transaction.body.chain,
        transaction.body.sender,
        transaction.body.nonce,
        transaction.body.expiry_height,
    ]
    assert body[4] == [
        list(msgspec.to_builtins(operation, builtin_types=(bytes,)))
        for operation in transaction.body.operations
    ]
    assert msgpack.packb([body, signature], use_bin_type=True) == transaction.raw


@given(transactions, st.data())
def test_one_changed_byte_is_refused_or_means_something_else(
    transaction: Transaction, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(transaction.raw) - 1))
    to = data.draw(st.integers(0, 255).filter(lambda byte: byte != transaction.raw[at]))
    changed = transaction.raw[:at] + bytes([to]) + transaction.raw[at + 1 :]
    try:
        other = decode_transaction(changed)
    except DecodeError:
        return
    assert other != transaction
    assert other.raw == changed


@given(st.binary(max_size=200))
def test_rubbish_is_refused_with_a_decode_error(rubbish: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_transaction(rubbish)


OTHER_SPELLINGS = {
    "an integer longer than needed": b"\x93\xcc\x05\xa1a\xc4\x00",
    "the longest integer": b"\x93\xcf\x00\x00\x00\x00\x00\x00\x00\x05\xa1a\xc4\x00",
    "a string header longer than needed": b"\x93\x05\xd9\x01a\xc4\x00",
    "a bytes header longer than needed": b"\x93\x05\xa1a\xc5\x00\x00",
    "an array header longer than needed": b"\xdc\x00\x03\x05\xa1a\xc4\x00",
    "a default left out": b"\x92\x05\xa1a",
    "a float for an integer": b"\x93\xca\x40\xa0\x00\x00\xa1a\xc4\x00",
}


@pytest.mark.parametrize("spelling", OTHER_SPELLINGS.values(), ids=OTHER_SPELLINGS)
def test_other_spellings_of_a_value_are_refused(spelling: bytes) -> None:
    assert decode_canonical(b"\x93\x05\xa1a\xc4\x00", Point) == Point(5, "a")
    with pytest.raises(DecodeError):
        decode_canonical(spelling, Point)


@pytest.mark.parametrize(
    "refused",
    [
        b"\x94\x05\xa1a\xc4\x00\x00",
        b"\x93\x05\xa1a\xc4\x00\x00",
        b"\x93\xff\xa1a\xc4\x00",
        b"\x93\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa1a\xc4\x00",
        b"\x93\x05\xa5aaaaa\xc4\x00",
        b"\x93\x05\xa1\xff\xc4\x00",
        b"\x83\x05\xa1a\xc4\x00",
        b"\xc0",
        b"",
        b"\x91" * 100_000,
    ],
    ids=[
        "one field more",
        "a byte more",
        "negative",
        "beyond 63 bits",
        "too long",
        "not UTF-8",
        "a map",
        "nil",
        "nothing",
        "nested deeply",
    ],
)
def test_what_the_type_does_not_allow_is_refused(refused: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(refused, Point)


def test_hashes_of_different_domains_differ() -> None:
    assert digest(b"block", b"x") != digest(b"transaction", b"x")
    assert len(digest(b"block", b"")) == 32
