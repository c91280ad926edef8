"""Whole nodes that hand work to each other: what is calm settles, what lies is found, what is broken on purpose too."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.hunting.mutants import BY_NAME, MUTANTS, Mutant, switched_on
from simulations.hunting.shrink import shrink
from simulations.library import named
from simulations.running import run_any
from simulations.scenario import Scenario, Tasks, Worker, fault_of
from simulations.scenario_file import dump, parse
from simulations.seeds.expand_tasks import expand_tasks
from simulations.worlds.result import Result

FOUND_BY = {
    "output_before_claim": 0,
    "outputs_not_compared": 4,
    "outputs_not_checked": 4,
    "never_taken_back": 0,
    "outputs_not_kept": 1,
    "worked_on_twice": 13,
    "refunded_twice": 1,
    "lost_claims_kept": 1,
}
"""A seed for each planted mistake."""


def held(name: str) -> Result:
    result = run_any(named(name))
    assert result.violation is None
    return result


def test_while_all_is_well_two_hundred_blocks_settle_every_task() -> None:
    result = held("whole-nodes")
    assert result.height >= 200
    marks = result.marks
    assert "shown as failed" not in marks
    asked = marks["task queued"] + marks["member of a group queued"]
    ended = marks["task settled"] + marks["member of a group settled"]
    assert asked == ended + marks.get("task cancelled", 0) > 100


def test_a_lying_executor_is_found_out_and_the_work_goes_elsewhere() -> None:
    marks = held("lying-executors").marks
    assert marks["liar found out"] > 10
    assert marks["hand-off placed again"] > 10


def test_whoever_took_a_task_and_vanished_is_not_paid() -> None:
    marks = held("vanishing-executor").marks
    assert marks["task failed"] > 0
    assert marks["hand-off placed again"] > 0
    assert marks["shown as settled"] > 15


def test_claims_that_a_crash_cuts_off_are_given_back() -> None:
    marks = held("hand-offs-cut").marks
    assert marks["executor crashed at work"] > 0
    assert marks["claim given back"] > 0


def test_false_askers_end_too() -> None:
    assert held("false-askers").marks["task cancelled"] > 0


@pytest.mark.parametrize(
    "mutant",
    [one for one in MUTANTS if one.family == "whole-nodes"],
    ids=lambda mutant: mutant.name,
)
def test_a_planted_mistake_is_found(mutant: Mutant) -> None:
    with switched_on(mutant):
        assert run_any(expand_tasks(FOUND_BY[mutant.name])).violation is not None


def test_what_a_planted_mistake_breaks_is_shrunk() -> None:
    scenario = expand_tasks(FOUND_BY["refunded_twice"])
    with switched_on(BY_NAME["refunded_twice"]):
        small = shrink(scenario, 15)
    assert small.result.violation is not None
    assert "money was made or lost" in small.result.violation
    assert len(dump(small.setting).splitlines()) <= 30


@settings(max_examples=50)
@given(st.integers(0, 100_000))
def test_every_seed_of_whole_nodes_survives_its_file(seed: int) -> None:
    scenario = expand_tasks(seed)
    assert fault_of(scenario) is None
    assert parse(dump(scenario), "a file") == scenario


@pytest.mark.parametrize(
    ("scenario", "fault"),
    [
        (Scenario(seed=1, weights=(1,), tasks=Tasks(count=1)), "another node"),
        (Scenario(seed=1, weights=(1, 1), workers=(Worker(node=1, kind="keeper"),)), "tasks.count"),
        (
            Scenario(
                seed=1,
                weights=(1, 1),
                tasks=Tasks(count=1),
                workers=(Worker(node=2, kind="keeper"),),
            ),
            "no founder",
        ),
        (Scenario(seed=1, weights=(1, 1), joiners=(5,), tasks=Tasks(count=1)), "joiners"),
    ],
)
def test_what_is_no_scenario_of_tasks_is_refused(scenario: Scenario, fault: str) -> None:
    assert fault in (fault_of(scenario) or "")
