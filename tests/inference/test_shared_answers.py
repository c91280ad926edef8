"""Answers that nodes share: who can find them, who can open them, and what a liar can do about them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from consensus.operations.transactions import (
    SignedReceipt,
    TaskReceipt,
    Usage,
    content_hash,
    sign_receipt,
)
from gossip.codec import DecodeError, decode, encode
from gossip.identity import Ed25519Signer, Ed25519Verifier, NodeId
from inference.cache import CacheKind
from inference.chat import Call, CallKind, JsonObject
from inference.chat_task import ChatOutput, chat_input, encode_chat
from inference.shared_answers import (
    AHEAD_MS,
    NONCE_BYTES,
    Circle,
    Entry,
    Forged,
    Found,
    Held,
    Reply,
    Shared,
    SignedEntry,
    check_entry,
    check_shared,
    holders,
    is_current,
    may_share,
    seal,
    sign_entry,
    unseal,
)

CHAIN, FILE, OTHER_FILE = b"c" * 32, "ab" * 32, "cd" * 32
SIGNER, LIAR = Ed25519Signer(b"1" * 32), Ed25519Signer(b"2" * 32)
CIRCLE, TENANT = Circle(b"s" * 32), "tenant"
VERIFIER, NONCE = Ed25519Verifier(), bytes(NONCE_BYTES)
ANSWER: JsonObject = {
    "id": "1",
    "model": "m",
    "choices": [{"index": 0, "message": {"content": "yes"}, "finish_reason": "stop"}],
}


def call(text: str = "Is it?", **more: Any) -> Call:  # noqa: ANN401 - fields of OpenAI's request
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "temperature": 0, **more}
    return Call(CallKind.CHAT, "m", body, peers=True, file=FILE)


def shared(asked: Call | None = None, signer: Ed25519Signer = SIGNER, **more: Any) -> Shared:  # noqa: ANN401 - fields of a receipt
    given = encode_chat(chat_input(asked or call(), streamed=False))
    output = encode_chat(ChatOutput(lines=(json.dumps(ANSWER),), is_whole=True))
    receipt = TaskReceipt(
        chain=CHAIN,
        task=bytes(32),
        kind="chat",
        asker=SIGNER.public,
        executor=SIGNER.public,
        input_hash=content_hash(given),
        output_hash=content_hash(output),
        model_hash=bytes.fromhex(FILE),
        usage=Usage(1, 1, 0),
        finished_at_ms=1,
        nonce=bytes(32),
    )
    return Shared(sign_receipt(signer, structs.replace(receipt, **more)), given, output)


def checked(what: Shared, asked: Call | None = None) -> Found:
    return check_shared(what, asked or call(), FILE, CHAIN, VERIFIER)


def test_the_same_request_finds_and_opens_an_answer_and_its_receipt_holds() -> None:
    spot = CIRCLE.spot(TENANT, FILE, call())
    sealed = seal(spot, shared(), NONCE)
    assert sealed is not None
    again = CIRCLE.spot(TENANT, FILE, call(stream=False, user="somebody"))
    found = checked(unseal(again, sealed))
    assert found.answer["choices"][0]["message"]["content"] == "yes"
    assert found.shared.receipt.is_signed(VERIFIER)


@pytest.mark.parametrize(
    ("circle", "tenant", "file", "asked"),
    [
        (Circle(b"t" * 32), TENANT, FILE, call()),
        (CIRCLE, "another", FILE, call()),
        (CIRCLE, TENANT, OTHER_FILE, call()),
        (CIRCLE, TENANT, FILE, call("Is it not?")),
        (CIRCLE, TENANT, FILE, call(max_tokens=5)),
    ],
)
def test_another_secret_tenant_file_or_request_has_another_name_and_opens_nothing(
    circle: Circle, tenant: str, file: str, asked: Call
) -> None:
    mine, theirs = CIRCLE.spot(TENANT, FILE, call()), circle.spot(tenant, file, asked)
    assert mine.name != theirs.name
    sealed = seal(mine, shared(), NONCE)
    assert sealed is not None
    with pytest.raises(Forged, match="does not open"):
        unseal(theirs, sealed)
    with pytest.raises(Forged, match="does not open"):
        unseal(structs.replace(mine, key=theirs.key), sealed)


@given(st.data())
def test_no_byte_of_a_sealed_answer_can_be_changed(data: st.DataObject) -> None:
    spot = CIRCLE.spot(TENANT, FILE, call())
    sealed = bytearray(seal(spot, shared(), NONCE) or b"")
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Forged):
        unseal(spot, bytes(sealed))


@given(st.binary(max_size=200))
def test_whatever_is_sent_raises_nothing_else(junk: bytes) -> None:
    with pytest.raises(Forged):
        unseal(CIRCLE.spot(TENANT, FILE, call()), junk)
    with pytest.raises(DecodeError):
        decode(b"\xc1" + junk, Reply)  # type: ignore[arg-type] # a union


@pytest.mark.parametrize(
    ("forged", "why"),
    [
        (shared(signer=LIAR), "not signed"),
        (shared(chain=bytes(32)), "another federation"),
        (shared(model_hash=bytes.fromhex(OTHER_FILE)), "another model"),
        (shared(kind="embed"), "another federation or another model"),
        (shared(output_hash=bytes(32)), "another answer"),
        (shared(call("Is it not?")), "another request"),
        (structs.replace(shared(), given=b"", output=b""), "another request"),
    ],
)
def test_a_forged_receipt_is_told_by_what_is_wrong_with_it(forged: Shared, why: str) -> None:
    with pytest.raises(Forged, match=why):
        checked(forged)


@pytest.mark.parametrize(
    ("lines", "is_whole", "why"),
    [
        ((), True, "one whole"),
        (("{}", "{}"), True, "one whole"),
        ((json.dumps(ANSWER),), False, "one whole"),
        (("[]",), True, "no answer"),
        (('{"choices": []}',), True, "no answer"),
    ],
)
def test_what_is_no_answer_is_refused_though_it_is_signed(
    lines: tuple[str, ...], is_whole: bool, why: str
) -> None:
    output = encode_chat(ChatOutput(lines=lines, is_whole=is_whole))
    signed = shared(output_hash=content_hash(output))
    with pytest.raises(Forged, match=why):
        checked(structs.replace(signed, output=output))


def entry(sealed: bytes, **more: Any) -> SignedEntry:  # noqa: ANN401 - fields of an entry
    made = Entry(CHAIN, b"n" * 32, content_hash(sealed), 5, SIGNER.public)
    return sign_entry(SIGNER, structs.replace(made, **more))


@pytest.mark.parametrize(
    ("signed", "why"),
    [
        (entry(b"sealed", chain=bytes(32)), "another federation"),
        (entry(b"sealed", name=bytes(32)), "another name"),
        (entry(b"other"), "not those"),
        (entry(b"sealed", keeper=LIAR.public), "not signed"),
    ],
)
def test_an_entry_is_what_its_keeper_signed(signed: SignedEntry, why: str) -> None:
    check_entry(entry(b"sealed"), b"sealed", CHAIN, b"n" * 32, VERIFIER)
    with pytest.raises(Forged, match=why):
        check_entry(signed, b"sealed", CHAIN, b"n" * 32, VERIFIER)
    held = Held(signed, b"sealed")
    assert decode(encode(held), Held) == held


def test_an_entry_lives_thirty_days_and_none_from_the_future_is_taken() -> None:
    life_ms = 30 * 24 * 60 * 60 * 1000
    assert CacheKind.SHARED.life_ms == life_ms
    made_ms = 10 * AHEAD_MS
    assert is_current(made_ms, made_ms - AHEAD_MS)
    assert not is_current(made_ms, made_ms - AHEAD_MS - 1)
    assert is_current(made_ms, made_ms + life_ms - 1)
    assert not is_current(made_ms, made_ms + life_ms)


@pytest.mark.parametrize(
    "private",
    [
        structs.replace(call(), peers=False),
        call(temperature=0.1),
        call(logprobs=True),
        structs.replace(call(), options={"mirostat": 1}),
        Call(CallKind.EMBED, "m", {"input": "a"}, peers=True),
        Call(CallKind.CHAT, "m", {"messages": []}, peers=True),
    ],
)
def test_only_what_may_leave_and_is_the_same_again_is_shared(private: Call) -> None:
    assert may_share(call())
    assert not may_share(private)


@given(st.sets(st.binary(min_size=32, max_size=32), min_size=4, max_size=9), st.data())
def test_who_comes_or_goes_moves_no_other_holder(nodes: set[bytes], data: st.DataObject) -> None:
    name = CIRCLE.spot(TENANT, FILE, call(data.draw(st.text(max_size=9)))).name
    before = list(holders(name, map(NodeId, nodes)))
    gone = data.draw(st.sampled_from(sorted(nodes)))
    before.remove(NodeId(gone))
    assert list(holders(name, map(NodeId, nodes - {gone}))) == before


def test_the_circle_knows_its_own_and_a_copied_tag_is_worth_nothing() -> None:
    one, other = NodeId(SIGNER.public), NodeId(LIAR.public)
    assert CIRCLE.tag(one) == Circle(b"s" * 32).tag(one)
    assert len({CIRCLE.tag(one), CIRCLE.tag(other), Circle(b"t" * 32).tag(one)}) == 3


def test_a_receipt_is_a_wire_value() -> None:
    signed = shared().receipt
    assert decode(encode(signed), SignedReceipt) == signed
