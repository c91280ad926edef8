"""Each liar, leading four nodes and then seven, against the sound protocol."""

from typing import get_args

import pytest

from simulations.federation import run
from simulations.scenario import COLLECTORS, Actor, ActorKind, Clients, Scenario, fault_of
from simulations.worlds.faults import Crash
from simulations.worlds.result import Result
from simulations.worlds.setting import Network

LEADERS = tuple(kind for kind in get_args(ActorKind) if kind != "snapshot_liar")
"""Who lies about snapshots has worlds of its own: `test_snapshots.py`."""


def with_liar(kind: ActorKind, weights: tuple[int, ...], seed: int) -> Result:
    scenario = Scenario(
        seed=seed,
        weights=weights,
        actors=(Actor(node=0, kind=kind),),
        clients=Clients(transactions=8, interval_ms=60, burst=2),
        network=Network(loss_ppm=20_000, tail_ppm=20_000, tail_us=300_000),
        max_block_txs=3,
        collected_from=4 if kind in COLLECTORS else 32,
        faults=(Crash(node=1, at_ms=700, down_ms=300, in_turn=True),),
        heal_ms=3_000,
    )
    assert fault_of(scenario) is None
    return run(scenario)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weights", [(1,) * 4, (1,) * 7], ids=["four", "seven"])
@pytest.mark.parametrize("kind", LEADERS)
def test_a_lying_leader_breaks_nothing(
    kind: ActorKind, weights: tuple[int, ...], seed: int
) -> None:
    result = with_liar(kind, weights, seed)
    assert result.violation is None
    assert result.height > 0


@pytest.mark.parametrize("kind", ["equivocator", "double_voter", "mutator", "twin"])
def test_two_signed_statements_about_one_question_are_noticed(kind: ActorKind) -> None:
    marks = [with_liar(kind, (1,) * 4, seed).marks for seed in range(4)]
    assert sum(one.get("equivocation seen", 0) for one in marks) > 0


@pytest.mark.parametrize("kind", ["silent", "silent_leader", "malformed_proposer", "equivocator"])
def test_a_leader_that_nobody_can_follow_is_replaced(kind: ActorKind) -> None:
    assert with_liar(kind, (1,) * 4, 0).marks["view change"] > 0


def test_what_a_spammer_sends_is_refused_and_costs_nobody_else_anything() -> None:
    marks = [with_liar("spammer", (1,) * 4, seed).marks for seed in range(6)]
    assert sum(one.get("undecodable", 0) for one in marks) > 0
    assert sum(one.get("rejected", 0) for one in marks) > 0
