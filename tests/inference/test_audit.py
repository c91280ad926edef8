"""Whether log-probabilities tell one file from another, and what verdicts do to trust."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.effects import Persist
from gossip.identity import NodeId
from inference.audit import Finding, Judgement, Likelihood, judge, likelihoods
from inference.failures import Garbled
from inference.trust import FULL, TrustBook
from tests.consensus.world import MemoryReader

PEER = NodeId(bytes(32))


def said(*pairs: tuple[str, float], top: dict[str, float] | None = None) -> list[Likelihood]:
    return [Likelihood(token, logprob, top or {token: logprob}) for token, logprob in pairs]


def recited(logprob: float, count: int = 10) -> list[Likelihood]:
    return said(*((f"w{at}", logprob) for at in range(count)))


def test_the_same_words_with_another_certainty_are_another_file() -> None:
    assert judge(recited(-0.031), recited(0.0)).finding is Finding.MISMATCH
    assert judge(recited(0.0), recited(0.0)).finding is Finding.MATCH
    assert judge(recited(-0.004), recited(0.0)).finding is Finding.MATCH


def test_between_the_limits_nothing_is_known() -> None:
    assert judge(recited(-0.015), recited(0.0)).finding is Finding.INCONCLUSIVE


@pytest.mark.parametrize("told", [[], recited(-5.0, 3)])
def test_too_little_is_no_verdict(told: list[Likelihood]) -> None:
    assert judge(told, recited(0.0)).finding is Finding.INCONCLUSIVE


def test_a_tampered_token_shows_by_what_the_file_thinks_of_it() -> None:
    own = said(*((f"w{at}", 0.0) for at in range(10)), top={"w5": 0.0, "x": -9.3})
    told = [*recited(0.0, 5), Likelihood("x", 0.0, {}), *recited(0.0, 4)]
    assert judge(told, own).finding is Finding.MISMATCH


def test_a_sampled_token_that_the_file_finds_as_likely_ends_the_comparison_in_peace() -> None:
    own = said(*((f"w{at}", -0.5) for at in range(10)), top={"w5": -0.5, "x": -1.2})
    told = [*recited(-0.5, 5), Likelihood("x", -1.2, {}), *recited(-3.0, 4)]
    judgement = judge(told, own)
    assert (judgement.finding, judgement.tokens) == (Finding.MATCH, 6)


def test_what_has_another_form_is_told() -> None:
    with pytest.raises(Garbled):
        likelihoods([{"choices": [{"logprobs": {"content": [{"token": "a"}]}}]}])


def test_pieces_and_whole_answers_read_alike() -> None:
    entry = {"token": "a", "logprob": -1.0, "top_logprobs": [{"token": "b", "logprob": -0.5}]}
    piece = {"choices": [{"index": 0, "delta": {}, "logprobs": {"content": [entry]}}]}
    assert likelihoods([piece, {"choices": []}, piece]) == 2 * [Likelihood("a", -1.0, {"b": -0.5})]


class Book:
    def __init__(self) -> None:
        self.disk = MemoryReader()
        self.trust = TrustBook(self.disk)

    def note(self, finding: Finding) -> None:
        for effect in self.trust.note(1, PEER, Judgement(finding, "it differs")):
            assert isinstance(effect, Persist)
            self.disk.write(effect.writes)
        assert TrustBook(self.disk).of(PEER) == self.trust.of(PEER)


def test_one_mismatch_costs_nothing_and_repeated_ones_end_in_distrust() -> None:
    book = Book()
    for _ in range(3):
        book.note(Finding.MATCH)
    book.note(Finding.MISMATCH)
    assert book.trust.of(PEER).trust == FULL
    book.note(Finding.MISMATCH)
    assert book.trust.of(PEER).trust < FULL
    assert book.trust.of(PEER).distrust is None
    book.note(Finding.MISMATCH)
    told = book.trust.of(PEER).distrust
    assert told is not None
    assert "3 of 6" in told
    for effect in book.trust.forget(PEER):
        book.disk.write(effect.writes)
    assert TrustBook(book.disk).of(PEER).distrust is None


@given(st.lists(st.sampled_from(Finding)))
def test_only_mismatches_cost_trust(findings: list[Finding]) -> None:
    book = Book()
    for finding in findings:
        book.note(finding)
    record = book.trust.of(PEER)
    assert 0 <= record.trust <= FULL
    if findings.count(Finding.MISMATCH) < 2:
        assert record.trust == FULL
        assert record.distrust is None
