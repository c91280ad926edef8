"""Sentences and passages: right in known cases, and in their places in every case."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.blocks import BlockKind, blocks
from memory.chunking import passages, sentences

PIECES = st.sampled_from(
    [
        "A sentence. ", "Dr. Who? ", "no end", "\n", "\n\n", "# Head\n", "- item one\n", "1. first\n",
        "```\ncode. Here.\n```\n", "> quote. More.\n", "| a | b |\n", "====\n", ">>> f()\n", "::\n\n    x\n",
        "word " * 50, "x" * 300, "。日本。", "...", "!?", "  ", "\t", "\u00a0", "\u2028", "🙂", "e.g. this ",
    ]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=400), st.lists(PIECES, max_size=30).map("".join))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Smith met J. R. Doe at 3.5 km, i.e. far away. He left.",
         ["Dr. Smith met J. R. Doe at 3.5 km, i.e. far away.", "He left."]),
        ("See Fig. 3 and Sec. 2.1, No. 4 etc. It ends.", ["See Fig. 3 and Sec. 2.1, No. 4 etc.", "It ends."]),
        ("It was 3 p.m. on Monday. Then 4.", ["It was 3 p.m. on Monday.", "Then 4."]),
        ('"Really?" she asked. "Yes." He nodded.', ['"Really?" she asked.', '"Yes."', "He nodded."]),
        ("Wait... what? Yes... No.", ["Wait... what?", "Yes...", "No."]),
        ("A sentence over\ntwo lines. Next.", ["A sentence over\ntwo lines.", "Next."]),
        ("今日は。元気\uff1fはい\uff01", ["今日は。", "元気\uff1f", "はい\uff01"]),
        ("# Title\nText one. Text two.", ["Text one.", "Text two."]),
        ("Title\n=====\n\nText.", ["Text."]),
        ("- first item\n- second item. With more\n2) third", ["first item", "second item.", "With more", "third"]),
        ("Before.\n\n```py\nx = 1. Not a sentence.\n```\nAfter.", ["Before.", "After."]),
        ("Like this::\n\n    code. Here.\n\n    more\n\nText again.", ["Like this::", "Text again."]),
        ("Try it:\n\n>>> f()\n3. x\n\nDone.", ["Try it:", "Done."]),
        ("> Quoted. Twice.", ["Quoted.", "Twice."]),
        ("| port | 7430 |\n|------|------|\n| mode | fast |", ["port | 7430 |", "mode | fast |"]),
        ("---\n\n***\n\n   \n", []),
        ("", []),
    ],
)  # fmt: skip
def test_sentences_of_known_texts(text: str, expected: list[str]) -> None:
    assert [chunk.text for chunk in sentences(text)] == expected


@given(TEXTS)
def test_chunks_stand_where_they_say_and_sentences_do_not_overlap(text: str) -> None:
    found = sentences(text)
    for chunk in (*found, *passages(text, max_chars=80, overlap_chars=20)):
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.text.strip() == chunk.text != ""
    for before, after in itertools.pairwise(found):
        assert before.end <= after.start


@given(TEXTS, st.integers(10, 200), st.floats(0, 0.9))
def test_passages_are_bounded_ordered_and_hold_every_sentence(
    text: str, max_chars: int, share: float
) -> None:
    found = passages(text, max_chars=max_chars, overlap_chars=int(max_chars * share))
    covered: set[int] = set()
    for chunk in found:
        assert len(chunk.text) <= max_chars
        covered.update(range(chunk.start, chunk.end))
    for before, after in itertools.pairwise(found):
        assert before.start < after.start
        assert before.end < after.end
    for sentence in sentences(text, max_chars=max_chars):
        assert covered.issuperset(range(sentence.start, sentence.end))


@given(TEXTS)
def test_no_letter_is_lost_between_blocks(text: str) -> None:
    covered: set[int] = set()
    for block in blocks(text):
        assert covered.isdisjoint(range(block.start, block.end))
        covered.update(range(block.start, block.end))
    for chunk in passages(text):
        assert any(chunk.start < block.end and block.start < chunk.end for block in blocks(text))


def test_neighbouring_passages_share_whole_sentences() -> None:
    text = " ".join(f"This is sentence number {index}." for index in range(40))
    found = passages(text, max_chars=200, overlap_chars=60)
    for before, after in itertools.pairwise(found):
        shared = text[after.start : before.end]
        assert shared.startswith("This is")
        assert shared.endswith(".")


def test_a_word_longer_than_a_passage_is_cut() -> None:
    assert [len(chunk.text) for chunk in passages("x" * 1300)] == [600, 600, 100]


def test_headings_and_code_are_told_from_prose() -> None:
    text = "Title\n-----\n\nProse.\n\n## Two ##\n\n~~~\ncode\n~~~\n"
    kinds = [(block.kind, text[block.start : block.end]) for block in blocks(text)]
    assert kinds == [
        (BlockKind.HEADING, "Title"),
        (BlockKind.PROSE, "Prose."),
        (BlockKind.HEADING, "Two ##"),
        (BlockKind.CODE, "~~~\ncode\n~~~"),
    ]


def test_an_overlap_as_large_as_a_passage_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        passages("text", max_chars=10, overlap_chars=10)
