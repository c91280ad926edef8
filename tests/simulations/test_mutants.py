"""A simulator that finds nothing is worth nothing: each planted bug is found, and switched off again."""

import re
from collections.abc import Callable

import pytest

from simulations.federation import run
from simulations.hunting.hunt import hunt, hunt_seeds, scoreboard
from simulations.hunting.mutants import BY_NAME, MUTANTS, Mutant, switched_on
from simulations.scenario import Scenario
from simulations.seeds.campaigns import Campaign, forgetful, woven
from simulations.seeds.expand import expand
from simulations.worlds.draws import Draws

QUICK = {
    "any_certificate": 40,
    "any_digest": 20,
    "client_table_lost": 20,
    "collected_unsigned": 12,
    "constant_timeout": 20,
    "not_proposed_again": 40,
    "quorum_f_plus_1": 20,
    "quorum_half": 20,
    "short_certificates": 5,
    "silent_after_restart": 20,
    "state_votes_not_voters": 10,
    "unbounded_future": 40,
    "unknown_rules": 12,
    "unsorted_set": 5,
    "votes_after_sending": 5,
    "votes_not_voters": 20,
}
"""Mutants found within so many seeds, whatever else changes a little."""


@pytest.mark.parametrize(("name", "seeds"), sorted(QUICK.items()))
def test_a_planted_bug_is_found(name: str, seeds: int) -> None:
    found = hunt_seeds(BY_NAME[name], range(seeds), stop_at_first=True)
    assert found.detections == 1, f"{name}: {BY_NAME[name].what}, unnoticed in {seeds} seeds"


def test_a_mutant_is_gone_when_it_is_switched_off() -> None:
    before = run(expand(1)).trace_hash
    hunt_seeds(BY_NAME["quorum_f_plus_1"], [1])
    after = run(expand(1))
    assert after.violation is None
    assert after.trace_hash == before


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_replaces_something_that_exists(mutant: Mutant) -> None:
    patches = mutant.patches()
    assert patches
    assert all(vars(owner)[name] is not broken for owner, name, broken in patches)


def test_the_list_of_22_is_whole() -> None:
    assert [one.number for one in MUTANTS if one.number is not None] == list(range(1, 23))


@pytest.mark.parametrize(
    ("campaign", "name"), [(woven, "any_certificate"), (forgetful, "guard_off_by_one")]
)
def test_a_campaign_finds_what_it_was_made_for(
    campaign: Callable[[Draws, int], Campaign], name: str
) -> None:
    def staged(seed: int) -> Scenario:
        plan = campaign(Draws(seed), 4_000)
        assert plan.delays is not None
        assert plan.network is not None
        assert plan.clients is not None
        return Scenario(
            seed=seed,
            weights=(1,) * 4,
            actors=plan.actors,
            faults=plan.faults,
            delays=plan.delays,
            network=plan.network,
            clients=plan.clients,
            heal_ms=4_000,
        )

    scenarios = [staged(seed) for seed in range(8)]
    assert hunt(BY_NAME[name], scenarios).detections >= 3
    assert [run(one).violation for one in scenarios] == [None] * 8


def test_the_scoreboard_counts_over_several_starting_points() -> None:
    mutant = BY_NAME["unsorted_set"]
    scores, alarms = scoreboard([mutant], seeds=4, starts=3)
    told = scores[0].as_json()
    assert alarms == []
    assert told["detected"]
    assert told["seeds_to_detection"] == told["seeds_to_detection_p95"] == 1
    assert told["tier"] in {"swarm", "twins", "mutation", "scripted"}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mistake_is_a_mistake_of_the_protocol_and_no_crash_of_its_own(mutant: Mutant) -> None:
    with switched_on(mutant):
        violation = run(Scenario(seed=1, weights=(1, 1, 1, 1), heal_ms=300)).violation or ""
    assert not re.search(r"(Attribute|Name|Type|Index|Key)Error", violation), violation
