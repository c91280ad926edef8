"""Records: one encoding, strict bounds, and nobody's but their node's."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.genesis import found_alone
from gossip.codec import DecodeError, Digest, decode_canonical, encode
from gossip.identity import PublicKey
from gossip.membership.messages import Hello, MembershipMessage, federation_of
from gossip.membership.records import (
    MAX_ADDRESSES,
    MAX_CAPABILITIES,
    Capability,
    PeerRecord,
    RecordError,
    SignedRecord,
    record_fault,
    sign_record,
)
from gossip.transport import STRANGER_LIMITS
from tests.gossip.membership.strategies import messages, signed_records
from tests.gossip.membership.town import (
    EMBED,
    FEDERATION,
    VERIFIER,
    invite_from,
    node,
    signed_record,
    signer,
)


@given(messages)
def test_messages_survive_the_wire(message: MembershipMessage) -> None:
    kind: type[MembershipMessage] = MembershipMessage  # type: ignore[assignment]
    assert decode_canonical(encode(message), kind) == message


@given(st.binary(max_size=400))
def test_garbage_is_refused_and_nothing_else_is_raised(garbage: bytes) -> None:
    kind: type[MembershipMessage] = MembershipMessage  # type: ignore[assignment]
    with contextlib.suppress(DecodeError):
        decode_canonical(garbage, kind)


@given(signed_records)
def test_records_signed_by_nobody_are_refused(signed: SignedRecord) -> None:
    assert record_fault(signed, Digest(signed.record.federation), VERIFIER) is not None


def test_a_record_is_good_in_its_federation_only() -> None:
    signed = signed_record(1)
    assert record_fault(signed, FEDERATION, VERIFIER) is None
    assert record_fault(signed, Digest(bytes(32)), VERIFIER) == (
        "the record belongs to another federation"
    )


@given(
    st.sampled_from(
        [
            {"seq": 2},
            {"name": "another"},
            {"addresses": ("/ip4/6.6.6.6/tcp/6",)},
            {"load": 1},
            {"voting_key": bytes(32)},
            {"node": node(2)},
            {"capabilities": ()},
            {"version": "9"},
            {"issued_at_ms": 0},
        ]
    )
)
def test_nothing_in_a_record_can_be_altered(change: dict[str, object]) -> None:
    signed = signed_record(1)
    altered = msgspec.structs.replace(signed.record, **change)
    forged = SignedRecord(altered, signed.signature)
    assert record_fault(forged, FEDERATION, VERIFIER) == "the record is not signed by its node"


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "n" * 65},
        {"addresses": ("/ip4/10.0.0.1/tcp/1",) * (MAX_ADDRESSES + 1)},
        {"addresses": ("10.0.0.1:7430",)},
        {"addresses": ("/ip4/10.0.0.1/tcp/1\n",)},
        {"addresses": ("/" + "a" * 400,)},
        {"capabilities": (EMBED,) * (MAX_CAPABILITIES + 1)},
        {"capabilities": (Capability("Inference", "embed", None, 0, 0),)},
        {"capabilities": (Capability("inference", "em bed", None, 0, 0),)},
        {"capabilities": (Capability("inference", "embed", b"short", 0, 0),)},
        {"capabilities": (Capability("inference", "embed", None, -1, 0),)},
        {"load": 1001},
        {"seq": -1},
        {"voting_key": bytes(31)},
        {"version": ""},
    ],
)
def test_a_record_out_of_bounds_is_neither_signed_nor_decoded(change: dict[str, object]) -> None:
    with pytest.raises(RecordError):
        signed_record(1, **{"seq": 1, **change})  # type: ignore[arg-type]
    record = msgspec.structs.replace(signed_record(1).record, **change)
    with pytest.raises(DecodeError):
        decode_canonical(encode(record), PeerRecord)


@pytest.mark.parametrize("name", ["a\x1b[2Jb", " padded", "padded ", "zero\u200bwidth"])
def test_names_that_would_hide_something_are_refused(name: str) -> None:
    record = msgspec.structs.replace(signed_record(1).record, name=name)
    with pytest.raises(RecordError):
        sign_record(record, signer(1))
    signed = SignedRecord(record, signer(1).sign(record.signing_bytes()))
    assert record_fault(signed, FEDERATION, VERIFIER) is not None


def test_the_largest_hello_fits_what_a_stranger_may_send() -> None:
    capability = Capability("k" * 16, "n" * 64, bytes(32), 2**63 - 1, 1_000_000)
    addresses = ("/" + "a" * 399,) * MAX_ADDRESSES
    largest = signed_record(
        1,
        2**63 - 1,
        name="\U00020000" * 64,
        addresses=addresses,
        capabilities=(capability,) * MAX_CAPABILITIES,
        version="v" * 32,
        issued_at_ms=2**63 - 1,
    )
    invite = msgspec.structs.replace(invite_from(1, expires_ms=2**63 - 1), addresses=addresses)
    hello = Hello(FEDERATION, largest, invite, 2**63 - 1)
    assert len(encode(hello)) <= STRANGER_LIMITS.max_frame_bytes


def test_the_id_of_a_federation_is_the_one_that_the_ledger_uses() -> None:
    genesis = found_alone("home", 1, (node(1), PublicKey(bytes(32))), 1_000)
    assert federation_of(encode(genesis)) == genesis.federation_id
