"""Every interleaving of small cases: nothing breaks, and a planted bug does not get through."""

import json

import pytest
from click.testing import CliRunner

from consensus.pbft.tally import Tally
from consensus.quorum import Validator, ValidatorSet
from simulations.cli import main
from simulations.exhaust.exhaustive import BOTH, Case, cases, check
from simulations.exhaust.forking import fork, frozen
from simulations.hunting.mutants import BY_NAME, switched_on

NOBODY = frozenset[int]()
ANYTHING = Case("anything", 0, views=1, told=BOTH)


@pytest.mark.parametrize(
    "case",
    [
        Case("silent leader", 0, views=2),
        Case("one view", 3, views=1, heights=2),
        Case("two lies", 0, views=2, told=(0, 1, -1)),
    ],
    ids=lambda case: case.name,
)
def test_every_interleaving_of_a_small_case_holds(case: Case) -> None:
    checked = check(case)
    assert checked.violation is None
    assert checked.is_complete
    assert checked.decisions > 0


def test_a_walk_is_the_same_every_time() -> None:
    one, other = (check(Case("silent leader", 0, views=2)) for _ in range(2))
    assert (one.states, one.steps, one.decisions) == (other.states, other.steps, other.decisions)


def test_a_planted_bug_does_not_get_through() -> None:
    with switched_on(BY_NAME["second_proposal"]):
        checked = check(ANYTHING)
    assert checked.violation is not None
    assert "honest" in checked.violation
    *_, first, second = checked.history
    assert first.partition(":")[0] == second.partition(":")[0]
    assert first != second, "the two votes of one replica that contradict each other"


def test_two_decisions_are_told_with_how_they_came_about() -> None:
    with switched_on(BY_NAME["quorum_f_plus_1"]):
        checked = check(Case("two lies", 0, views=1, told=(0, 1, -1)))
    assert checked.violation is not None
    assert checked.violation.startswith("agreement: height 1")
    assert any("n1 takes Proposal of n0" in line for line in checked.history)


def test_a_walk_that_is_cut_short_claims_nothing() -> None:
    checked = check(Case("silent leader", 0, views=2), limit=100)
    assert not checked.is_complete
    assert checked.violation is None


def test_lies_that_differ_only_in_their_names_are_told_once() -> None:
    told = [case.told for case in cases() if case.told]
    assert len(told) == len(set(told)) == 13
    assert (1, 1, 1) not in told


def test_the_command_prints_states_and_time() -> None:
    told = CliRunner().invoke(main, ["exhaust", "--case", "silent first leader", "--json"])
    found = json.loads(told.output)
    assert told.exit_code == 0
    assert found["violations"] == []
    assert found["states"] == found["cases"][0]["states"] > 1_000
    assert found["cases"][0]["complete"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--case", "nothing"], "a silent follower"), (["--mutant", "nothing"], "second_proposal")],
)
def test_what_does_not_exist_is_refused_with_what_does(arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(main, ["exhaust", *arguments])
    assert result.exit_code == 2
    assert told in result.output


def test_a_copy_shares_nothing_that_changes() -> None:
    members = ValidatorSet(0, (Validator(bytes(32), bytes([1]) * 32, 1),))
    tally = Tally(members)
    copy = fork(tally, NOBODY)
    assert frozen(copy, frozenset(), NOBODY) == frozen(tally, frozenset(), NOBODY)
    copy.add(bytes([1]) * 32, b"digest", bytes(64))
    assert tally.decided() is None
    assert copy.decided() == b"digest"
    assert frozen(copy, frozenset(), NOBODY) != frozen(tally, frozenset(), NOBODY)
