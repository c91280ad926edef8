"""Names of topics and patterns of names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.broadcast.topics import Pattern, TopicError, check_topic

WORDS = st.lists(st.sampled_from(("state", "agent", "change", "x")), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("pattern", "topic", "fits"),
    [
        ("routing/decision", "routing/decision", True),
        ("routing/decision", "routing/fallback", False),
        ("state/*/change", "state/weather/change", True),
        ("state/*/change", "state/change", False),
        ("state/*/change", "state/a/b/change", False),
        ("plugin/**", "plugin/weather/request", True),
        ("plugin/**", "plugin", False),
        ("plugin/*/**", "plugin/weather", False),
        ("**", "anything", True),
        ("*", "anything", True),
        ("*", "two/words", False),
    ],
)
def test_what_a_pattern_stands_for(pattern: str, topic: str, fits: bool) -> None:
    assert Pattern(pattern).matches(topic) is fits


@pytest.mark.parametrize("text", ["", "/", "a//b", "a/", "a b", "a/**", "é", "x" * 129])
def test_what_is_no_topic(text: str) -> None:
    with pytest.raises(TopicError, match="is no topic"):
        check_topic(text)


@pytest.mark.parametrize("text", ["", "**/a", "a/**/b", "a*", "a/", "*/" * 70 + "*"])
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(TopicError, match="is no pattern"):
        Pattern(text)


@given(WORDS, st.data())
def test_a_star_in_place_of_any_word_fits_as_well(words: list[str], data: st.DataObject) -> None:
    topic = check_topic("/".join(words))
    stars = [data.draw(st.sampled_from((word, "*"))) for word in words]
    assert Pattern("/".join(stars)).matches(topic)
    assert not Pattern("/".join([*stars, "*"])).matches(topic)
