"""How many requests of one caller the model servers work on at once, so that none of several callers has them all."""

from __future__ import annotations

from collections import Counter

from node.gateway.openai_form import OpenAiError


class Turns:
    """At most `most` of each; 0 is no bound."""

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self._in_hand: Counter[str] = Counter()

    def take(self, caller: str) -> None:
        """A request begins, whose turn must be given back. Raises `OpenAiError` if the caller has as many as it may."""
        if self._most and self._in_hand[caller] >= self._most:
            told = f"{self._most} requests of this caller are under way, which is all it may have at once"
            raise OpenAiError(429, "too_many_at_once", told, headers={"retry-after": "1"})
        self._in_hand[caller] += 1

    def give_back(self, caller: str) -> None:
        """It has ended."""
        self._in_hand[caller] -= 1
        if not self._in_hand[caller]:
            del self._in_hand[caller]
