"""A prompt keeps its budget, and the user's words are never cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.failures import ContextOverflow
from inference.prompt import Budget, Piece, build, estimated_tokens

TEXTS = st.text(max_size=400)
PIECES = st.lists(
    st.builds(
        Piece,
        TEXTS,
        title=st.text(max_size=12),
        weight=st.floats(0, 1),
        cuttable=st.booleans(),
    ),
    max_size=8,
)


@given(
    TEXTS,
    st.tuples(TEXTS, st.lists(TEXTS, max_size=3)),
    PIECES,
    st.lists(TEXTS, max_size=5),
    st.integers(10, 600),
)
def test_no_prompt_is_larger_than_its_budget(
    user: str, head: tuple[str, list[str]], pieces: list[Piece], said: list[str], room: int
) -> None:
    system, rules = head
    budget = Budget(context_tokens=room + 50, answer_tokens=50)
    history = [{"role": "user", "content": text} for text in said]
    try:
        prompt = build(
            user, system=system, rules=rules, pieces=pieces, history=history, budget=budget
        )
    except ContextOverflow:
        assert estimated_tokens(user + "\n".join(rules)) + 16 > room
        return
    assert sum(prompt.tokens.values()) <= budget.prompt_tokens
    sent = sum(estimated_tokens(message["content"]) for message in prompt.messages)
    assert sent <= budget.prompt_tokens
    assert prompt.messages[-1] == {"role": "user", "content": user}
    if rules and any(rules):
        assert "\n".join(rules) in prompt.messages[0]["content"]


def test_the_weightiest_context_stays_and_history_goes_from_its_oldest_on() -> None:
    pieces = [
        Piece("a " * 100, title="light", weight=0.1, cuttable=False),
        Piece("b " * 100, title="heavy", weight=0.9, cuttable=False),
    ]
    history = [
        {"role": "user", "content": "old " * 40},
        {"role": "assistant", "content": "new " * 5},
    ]
    budget = Budget(context_tokens=200, answer_tokens=80)
    prompt = build("question", pieces=pieces, history=history, budget=budget)
    assert prompt.left_out == ("light",)
    said = [message["content"] for message in prompt.messages]
    assert said[0].startswith("heavy\n\nb b")
    assert said[1] == "new " * 5
    assert len(said) == 3


def test_a_piece_is_cut_at_a_word_and_says_so() -> None:
    prompt = build(
        "q",
        pieces=[Piece("word " * 400, title="book")],
        budget=Budget(context_tokens=150, answer_tokens=50),
    )
    assert prompt.cut == ("book",)
    assert prompt.messages[0]["content"].endswith("word\n[..]")


def test_a_question_that_has_no_room_is_refused() -> None:
    with pytest.raises(ContextOverflow, match="about 108 tokens, and 50 fit"):
        build("x" * 400, budget=Budget(context_tokens=100, answer_tokens=50))
