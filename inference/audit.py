"""Whether an answer is the model's whose file its receipt names: by the log-probabilities that came with it.

Two models can say the same, but hardly with the same certainty. Who has the same file asks it the
same thing, without chance, and compares token by token what both thought of it, as far as they say
the same and one token beyond. Where sampling has led elsewhere soon, or a backend tells no
log-probabilities, nothing is known, and that is a verdict of its own.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

import msgspec

from inference.chat import JsonObject
from inference.failures import Garbled

MIN_TOKENS: Final = 4
SAME: Final = 0.01
"""Mean difference of log-probabilities up to which two runs of one file are the same."""
DIFFERENT: Final = 0.02
"""From here on it is another file. Other processors and batch sizes stay well below this."""
TOP: Final = 20
_FLOOR: Final = -10.0
"""Below this, log-probabilities are noise."""


class Finding(Enum):
    """What came of comparing."""

    MATCH = "match"
    MISMATCH = "mismatch"
    INCONCLUSIVE = "inconclusive"


class Likelihood(msgspec.Struct, frozen=True):
    """A token, its log-probability, and those of the likeliest ones at its place."""

    token: str
    logprob: float
    top: dict[str, float]


class Judgement(msgspec.Struct, frozen=True):
    """A finding, why, and over how many tokens."""

    finding: Finding
    reason: str
    tokens: int = 0


def likelihoods(lines: list[JsonObject]) -> list[Likelihood]:
    """What the first choice tells of its tokens, in a whole answer or in pieces. Raises `Garbled`."""
    found: list[Likelihood] = []
    for line in lines:
        for choice in line.get("choices") or []:
            if choice.get("index", 0) == 0:
                told = (choice.get("logprobs") or {}).get("content") or []
                found += map(_likelihood, told)
    return found


def _likelihood(entry: Any) -> Likelihood:  # noqa: ANN401 - what a server sent
    try:
        top = {str(one["token"]): float(one["logprob"]) for one in entry.get("top_logprobs") or ()}
        return Likelihood(str(entry["token"]), float(entry["logprob"]), top)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Garbled(f"its log-probabilities have another form ({error})") from None


def judge(told: list[Likelihood], own: list[Likelihood]) -> Judgement:
    """Compare what the peer told with what the same file says here."""
    if not told:
        return Judgement(Finding.INCONCLUSIVE, "the answer came without log-probabilities")
    differences: list[float] = []
    for theirs, ours in zip(told, own, strict=False):
        if theirs.token == ours.token:
            differences.append(_difference(theirs.logprob, ours.logprob))
            continue
        here = ours.top.get(theirs.token, min(ours.top.values(), default=_FLOOR))
        # A token outside the likeliest ones is at most as likely as the last of them.
        outside = theirs.token not in ours.top and theirs.logprob <= here
        differences.append(0.0 if outside else _difference(theirs.logprob, here))
        break
    count = len(differences)
    mean = sum(differences) / count if count else 0.0
    if count < MIN_TOKENS:
        return Judgement(Finding.INCONCLUSIVE, f"only {count} tokens could be compared", count)
    said = f"the log-probabilities of {count} tokens differ by {mean:.4f} on average"
    if mean >= DIFFERENT:
        return Judgement(Finding.MISMATCH, said, count)
    return Judgement(Finding.MATCH if mean <= SAME else Finding.INCONCLUSIVE, said, count)


def _difference(one: float, other: float) -> float:
    return abs(max(one, _FLOOR) - max(other, _FLOOR))
