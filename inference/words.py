"""Search by words: BM25 over a handful of texts (Robertson and Zaragoza 2009, section 3).

It sees what vectors blur: names, numbers, error codes. The index lives for one task, so it is a
few dictionaries and nothing more.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

K1: Final = 1.5
B: Final = 0.75
"""How soon repeated words stop counting, and how much long texts are held back: the usual values."""

_WORD: Final = re.compile(r"\w+")
_FUNCTION_WORDS: Final = (
    "a about am an and any are as at be been but by can could did do does for from had has have he "
    "her his how i if in into is it its me my no nor not of on or our she should so such than that "
    "the their them then there these they this those to was we were what when where which who whom "
    "whose why will with would you your"
)
_STOP_WORDS: Final = frozenset(_FUNCTION_WORDS.split())
_SUFFIXES: Final = ("ings", "ing", "ies", "ied", "es", "ed", "s", "e", "y")
_SHORTEST_STEM: Final = 3


def words(text: str) -> list[str]:
    """The words that carry meaning, in lower case and cut to a crude stem."""
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS]


def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _SHORTEST_STEM:
            return word[: -len(suffix)]
    return word


class WordIndex:
    """BM25 scores of some texts for a query."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._counts = [Counter(words(text)) for text in texts]
        lengths = np.array([counts.total() for counts in self._counts], np.float64)
        mean = lengths.mean() if len(texts) and lengths.any() else 1.0
        self._penalties = K1 * (1 - B + B * lengths / mean)
        self._holders = Counter(word for counts in self._counts for word in counts)

    def weight(self, word: str) -> float:
        """The inverse document frequency of a stem: rare words weigh more; never negative."""
        holders = self._holders[word]
        return math.log1p((len(self._counts) - holders + 0.5) / (holders + 0.5))

    def scores(self, query: str) -> NDArray[np.float64]:
        """float64[texts], 0 where no word is shared."""
        scores = np.zeros(len(self._counts))
        for word in set(words(query)):
            found = np.array([counts[word] for counts in self._counts], np.float64)
            scores += self.weight(word) * found * (K1 + 1) / (found + self._penalties)
        return scores

    def coverage(self, query: str, text: str) -> float:
        """The share, by weight, of the query's words that stand in `text`: 0 to 1."""
        wanted = set(words(query))
        held = wanted.intersection(words(text))
        total = sum(map(self.weight, wanted))
        return sum(map(self.weight, held)) / total if total else 0.0
