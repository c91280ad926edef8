"""A simulator that finds nothing is worth nothing: each planted bug is found, and switched off again."""

import pytest

from simulations.expand import expand
from simulations.federation import run
from simulations.mutants import MUTANTS, Mutant, hunt_seeds

QUICK = {
    "any_digest": 20,
    "not_proposed_again": 40,
    "quorum_f_plus_1": 20,
    "quorum_half": 20,
    "short_certificates": 5,
    "silent_after_restart": 20,
    "votes_after_sending": 5,
    "votes_not_voters": 20,
}
"""Mutants found within so many seeds, whatever else changes a little."""

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}


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
    assert all(getattr(owner, name) is not broken for owner, name, broken in patches)
