"""The task kinds: every valid input survives its bytes, every other one is refused with a reason."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.codec import DecodeError
from inference.kinds import (
    KINDS,
    MAX_TOTAL_CHARS,
    AnswerInput,
    AnswerOutput,
    BadInput,
    EmbedInput,
    EmbedOutput,
    Quote,
    RankedDocument,
    RankInput,
    RankOutput,
    SummarizeInput,
    SummarizeOutput,
    TaskInput,
    TaskOutput,
    UnknownKind,
    decode_input,
    decode_output,
    encode_input,
    encode_output,
    kind_named,
    kind_of,
    parse_input,
)
from memory.messages import Document

WORDS = st.text(min_size=1, max_size=30).filter(str.strip)
DOCUMENTS = st.lists(
    st.builds(Document, name=WORDS, text=WORDS),
    min_size=1,
    max_size=4,
    unique_by=lambda document: document.name,
).map(tuple)
INPUTS: st.SearchStrategy[TaskInput] = st.one_of(
    st.builds(EmbedInput, texts=st.lists(WORDS, min_size=1, max_size=4).map(tuple)),
    st.builds(RankInput, query=WORDS, documents=DOCUMENTS),
    st.builds(SummarizeInput, documents=DOCUMENTS, sentences=st.integers(1, 100)),
    st.builds(AnswerInput, question=WORDS, documents=DOCUMENTS),
)
QUOTE = Quote("a.md", 3, 7, "text", 0.25)
OUTPUTS: tuple[TaskOutput, ...] = (
    EmbedOutput(dimensions=2, vectors=bytes(16), truncated=(1,)),
    RankOutput(items=(RankedDocument("a.md", 1.5, QUOTE),)),
    SummarizeOutput(sentences=(QUOTE,)),
    AnswerOutput(answered=True, answer="text", confidence=0.75, citations=(QUOTE,)),
)


@given(INPUTS)
def test_an_input_survives_its_bytes_and_its_plain_values(value: TaskInput) -> None:
    name = kind_of(value)
    data = encode_input(value)
    assert decode_input(name, data) == value
    assert encode_input(decode_input(name, data)) == data
    assert parse_input(name, msgspec.to_builtins(value)) == value


@pytest.mark.parametrize("value", OUTPUTS)
def test_an_output_survives_its_bytes(value: TaskOutput) -> None:
    assert decode_output(kind_of(value), encode_output(value)) == value


@given(st.binary(max_size=100), st.sampled_from(sorted(KINDS)))
def test_other_bytes_are_refused(data: bytes, name: str) -> None:
    with pytest.raises(BadInput, match=f"input of '{name}' is not valid"):
        decode_input(name, data)
    with pytest.raises(DecodeError):
        decode_output(name, data)


def test_the_table_names_types_and_capabilities() -> None:
    assert list(KINDS) == ["embed", "rank", "summarize", "answer"]
    assert kind_named("rank").input_type is RankInput
    assert kind_named("rank").output_type is RankOutput
    assert kind_named("rank").capability == "inference.rank"


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownKind, match=r"no task kind 'translate'; known are embed, rank"):
        parse_input("translate", {})


def test_an_input_of_one_kind_is_not_taken_for_another() -> None:
    data = encode_input(EmbedInput(texts=("text",)))
    with pytest.raises(BadInput, match=r"kind"):
        decode_input("rank", data)


DOCUMENT = {"name": "a", "text": "words"}


@pytest.mark.parametrize(
    ("name", "fields", "reason"),
    [
        ("embed", {"texts": []}, r"length >= 1 - at `\$.texts`"),
        ("embed", {"texts": [""]}, r"length >= 1 - at `\$.texts\[0\]`"),
        ("embed", {"texts": ["x"], "model": "y"}, "unknown field `model`"),
        ("embed", {"texts": ["x" * 40_000]}, "length <= 32768"),
        ("embed", {"texts": ["x"] * 5_000}, "length <= 4096"),
        ("embed", {"texts": ["x" * 30_000] * 140}, f"at most {MAX_TOTAL_CHARS:,} are allowed"),
        ("embed", "text", "Expected `object`, got `str`"),
        ("rank", {"documents": [DOCUMENT]}, "missing required field `query`"),
        ("rank", {"query": "q", "documents": [DOCUMENT, DOCUMENT]}, "two documents named 'a'"),
        ("answer", {"question": "q", "documents": [{"name": "a", "text": " "}]}, "holds no text"),
        ("answer", {"question": 7, "documents": [DOCUMENT]}, r"Expected `str`, got `int`"),
        ("summarize", {"documents": [DOCUMENT], "sentences": 0}, "`int` >= 1"),
        ("summarize", {"documents": [DOCUMENT], "sentences": 101}, "`int` <= 100"),
    ],
)
def test_a_bad_input_is_refused_with_its_field(name: str, fields: object, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        parse_input(name, fields)


def test_an_input_that_breaks_a_bound_cannot_be_encoded() -> None:
    with pytest.raises(BadInput, match="int"):
        encode_input(SummarizeInput(documents=(Document("a", "text"),), sentences=500))
