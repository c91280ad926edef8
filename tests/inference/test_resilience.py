"""The retry table, the classes of failures, the circuit breaker, and the choice of a server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inference.breaker import Breaker, BreakerLimits, BreakerState
from inference.chat import AUTO, CallKind
from inference.failures import (
    BadRequest,
    ContextOverflow,
    Failure,
    FailureClass,
    Garbled,
    Locked,
    Overloaded,
    Unsupported,
    WrongModel,
    failure_of_status,
)
from inference.pace import Pace
from inference.retry import RetryPolicy, may_ask_again, parse_retry_after_ms
from inference.selection import ServerKind, Standing, Verdict, Wanted, select


def test_the_pauses_of_the_table() -> None:
    policy = RetryPolicy()
    assert [policy.pause_ms(made) for made in range(1, 6)] == [1000, 2000, 4000, 8000, None]
    assert RetryPolicy(attempts=99).pause_ms(50) == 30_000


@given(
    attempts=st.integers(1, 50),
    made=st.integers(0, 10**9),
    wanted=st.none() | st.integers(0, 10**7),
)
def test_a_pause_is_bounded_and_never_shorter_than_asked_for(
    attempts: int, made: int, wanted: int | None
) -> None:
    policy = RetryPolicy(attempts=attempts)
    pause_ms = policy.pause_ms(made, wanted)
    if pause_ms is None:
        assert made >= attempts or (wanted or 0) > policy.longest_pause_ms
    else:
        assert made < attempts
        assert max(policy.first_pause_ms, wanted or 0) <= pause_ms <= policy.longest_pause_ms


@pytest.mark.parametrize(
    ("status", "kind", "again"),
    [
        (400, BadRequest, False), (401, Locked, False), (403, Locked, False),
        (404, WrongModel, False), (405, Unsupported, False), (501, Unsupported, False),
        (408, Overloaded, True), (409, Overloaded, True),
        (422, BadRequest, False), (429, Overloaded, True), (500, Overloaded, True),
        (502, Overloaded, True), (503, Overloaded, True), (504, Overloaded, True),
        (302, Garbled, False), (418, Garbled, False), (204, Garbled, False),
    ],
)  # fmt: skip
def test_what_a_status_stands_for(status: int, kind: type[Failure], again: bool) -> None:
    failure = failure_of_status(status, "text")
    assert type(failure) is kind
    assert may_ask_again(failure) is again
    assert failure.status == status


def test_a_prompt_that_is_too_long_is_told_apart() -> None:
    told = "the request exceeds the available context size, try increasing it"
    assert type(failure_of_status(400, told)) is ContextOverflow


@given(st.integers(100, 999), st.text())
def test_every_status_has_a_class(status: int, text: str) -> None:
    assert isinstance(failure_of_status(status, text).kind, FailureClass)


@pytest.mark.parametrize(
    ("in_ms", "in_s", "expected"),
    [(None, "2", 2000), ("1500", "9", 1500), (None, "0.5", 500), (None, None, None),
     (None, "Wed, 21 Oct 2026 07:28:00 GMT", None), (None, "-1", None), ("x", "3", 3000),
     (None, "9" * 5000, None)],
)  # fmt: skip
def test_retry_after(in_ms: str | None, in_s: str | None, expected: int | None) -> None:
    assert parse_retry_after_ms(in_ms, in_s) == expected


def opened(now_ms: int = 0) -> Breaker:
    breaker = Breaker()
    for _ in range(5):
        breaker.enter(now_ms)
        breaker.on_failure(now_ms)
    return breaker


def test_the_fifth_failure_opens_and_a_success_between_starts_over() -> None:
    breaker = Breaker()
    for number in range(9):
        assert breaker.on_failure(number) == [] if number != 4 else breaker.on_success(number) == []
    (change,) = breaker.on_failure(9)
    assert (change.before, change.after) == (BreakerState.CLOSED, BreakerState.OPEN)


def test_after_sixty_seconds_three_successes_close() -> None:
    breaker = opened()
    assert not breaker.admits(59_999)
    assert breaker.wait_ms(59_999) == 1
    states = []
    for _ in range(3):
        states += breaker.enter(60_000)
        states += breaker.on_success(60_000)
    assert [change.after for change in states] == [BreakerState.HALF_OPEN, BreakerState.CLOSED]


def test_one_failure_while_half_open_opens_again() -> None:
    breaker = opened()
    breaker.enter(60_000)
    (change,) = breaker.on_failure(60_001)
    assert change.after is BreakerState.OPEN
    assert not breaker.admits(120_000)
    assert breaker.admits(120_001)


def test_half_open_admits_no_more_than_may_close_it() -> None:
    breaker = opened()
    for _ in range(3):
        breaker.enter(60_000)
    assert not breaker.admits(60_000)
    breaker.on_abandoned()
    assert breaker.admits(60_000)


class AnyBreaker(RuleBasedStateMachine):
    """Whatever requests do, the breaker agrees with a plain count of them."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(BreakerLimits(failures_to_open=2, open_ms=10, successes_to_close=2))
        self.now_ms, self.in_hand, self.last_failure_ms = 0, 0, -99

    @rule(ms=st.integers(0, 15))
    def wait(self, ms: int) -> None:
        self.now_ms += ms

    @precondition(lambda self: self.breaker.admits(self.now_ms))
    @rule()
    def enter(self) -> None:
        self.breaker.enter(self.now_ms)
        self.in_hand += 1

    @precondition(lambda self: self.in_hand)
    @rule(outcome=st.sampled_from(["success", "failure", "abandoned"]))
    def end(self, outcome: str) -> None:
        self.in_hand -= 1
        if outcome == "success":
            self.breaker.on_success(self.now_ms)
        elif outcome == "failure":
            self.breaker.on_failure(self.now_ms)
            self.last_failure_ms = self.now_ms
        else:
            self.breaker.on_abandoned()

    @invariant()
    def holds(self) -> None:
        self.breaker.check_invariants()
        if self.breaker.state(self.now_ms) is BreakerState.OPEN:
            assert self.now_ms - self.last_failure_ms <= 10 or self.in_hand
        if not self.in_hand:
            # Nothing may shut a server out for longer than the time given.
            assert self.breaker.admits(self.now_ms + 10)


TestAnyBreaker = AnyBreaker.TestCase


def names(model: str, *standings: Standing) -> list[str]:
    return [choice.server for choice in select(Wanted(model), CallKind.CHAT, standings).choices]


OLLAMA = Standing(name="ollama", kind=ServerKind.OLLAMA, models=("m:latest", "x:7b"))
STUDIO = Standing(name="studio", kind=ServerKind.OPENAI, models=("text-embedding-m", "m"))
HERE = Standing(name="embedded", kind=ServerKind.EMBEDDED, models=("bizra-extractive",))


def test_openai_servers_come_before_ollama() -> None:
    assert names("m", HERE, OLLAMA, STUDIO) == ["studio", "ollama"]


def test_an_unknown_model_is_nobodys() -> None:
    decision = select(Wanted("n"), CallKind.CHAT, [STUDIO, OLLAMA, HERE])
    assert decision.choices == ()
    assert not decision.is_known
    assert {one.verdict for one in decision.considered} == {Verdict.NO_MODEL}


def test_a_tag_left_out_means_latest_and_nothing_else() -> None:
    assert names("x", OLLAMA) == []
    assert names("m:7b", OLLAMA) == []


def test_auto_takes_models_that_write_and_the_embedded_one_last() -> None:
    decision = select(Wanted(AUTO), CallKind.CHAT, [HERE, OLLAMA, STUDIO])
    assert [choice.model for choice in decision.choices] == ["m", "m:latest", "bizra-extractive"]


@pytest.mark.parametrize(
    ("standing", "verdict"),
    [
        (Standing(name="a", kind=ServerKind.OPENAI, models=("m",), fault="no"), Verdict.DOWN),
        (
            Standing(name="a", kind=ServerKind.OPENAI, models=("m",), admits=False, wait_ms=5),
            Verdict.BREAKER_OPEN,
        ),
        (Standing(name="a", kind=ServerKind.OPENAI, models=("m",), in_hand=64), Verdict.FULL),
    ],
)
def test_a_server_that_cannot_be_asked_is_passed_over_with_its_reason(
    standing: Standing, verdict: Verdict
) -> None:
    decision = select(Wanted("m"), CallKind.CHAT, [standing])
    assert decision.choices == ()
    assert decision.is_known
    assert [one.verdict for one in decision.considered] == [verdict]


@given(st.integers(1, 10_000), st.lists(st.integers(0, 20_000), min_size=1, max_size=200))
def test_no_minute_has_more_requests_than_its_bound_and_a_burst(
    per_minute: int, pauses: list[int]
) -> None:
    pace, now_ms, sent = Pace(per_minute), 0, list[int]()
    for pause in pauses:
        now_ms += pause
        if pace.wait_ms(now_ms) == 0:
            pace.take(now_ms)
            sent.append(now_ms)
    for first in sent:
        in_a_minute = sum(first <= one < first + 60_000 for one in sent)
        assert in_a_minute <= per_minute + max(1, per_minute // 6)


def test_a_wait_is_as_long_as_it_says() -> None:
    pace = Pace(6)
    pace.take(0)
    assert pace.wait_ms(0) == 10_000
    assert pace.wait_ms(10_000) == 0
    assert Pace(0).wait_ms(0) == 0
