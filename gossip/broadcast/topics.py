"""Names of topics, and patterns of names. Pure.

A topic is words between slashes: `plugin/weather/request`. In a pattern `*` stands for any one word and `**`, at the
end, for any rest: `state/*/change`, `plugin/**`.
"""

from __future__ import annotations

import re
from typing import Final

MAX_TOPIC: Final = 128
_WORD = r"[A-Za-z0-9][A-Za-z0-9_.:-]*"
_TOPIC = re.compile(rf"{_WORD}(?:/{_WORD})*")
_PATTERN = re.compile(rf"(?:(?:{_WORD}|\*)(?:/(?:{_WORD}|\*))*(?:/\*\*)?|\*\*)")


class TopicError(ValueError):
    """A text is no topic, or no pattern; the error says what is allowed."""


def check_topic(text: str) -> str:
    """The topic. Raises `TopicError`."""
    if len(text) > MAX_TOPIC or not _TOPIC.fullmatch(text):
        raise TopicError(
            f"{text[:80]!r} is no topic: up to {MAX_TOPIC} characters, words of letters, digits "
            "and _ . : - between slashes, such as routing/decision"
        )
    return text


class Pattern:
    """A pattern, ready to match. Raises `TopicError`."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_TOPIC or not _PATTERN.fullmatch(text):
            raise TopicError(
                f"{text[:80]!r} is no pattern: a topic in which * stands for one word, and ** at "
                "the end for any rest, such as state/*/change"
            )
        self.text = text
        words = text.split("/")
        self._open = words[-1] == "**"
        self._words = words[:-1] if self._open else words

    def matches(self, topic: str) -> bool:
        """Whether it stands for this topic. `**` stands for one word at least."""
        words, wanted = topic.split("/"), self._words
        if len(words) <= len(wanted) if self._open else len(words) != len(wanted):
            return False
        return all(one in ("*", word) for one, word in zip(wanted, words, strict=False))
