"""Nodes that come back far behind take snapshots; nobody ever begins with one that is not certified."""

from __future__ import annotations

import pytest

from simulations.federation import run
from simulations.hunting.hunt import hunt_seeds
from simulations.hunting.mutants import BY_NAME
from simulations.library import named
from simulations.scenario import Scenario
from simulations.scenario_file import ScenarioError, dump, parse
from simulations.seeds.latecomers import latecomer
from simulations.worlds.trace import Entry, Trace


def test_a_node_far_behind_takes_a_true_snapshot_although_a_helper_has_only_false_ones() -> None:
    scenario = named("false-snapshots")
    heard: list[Entry] = []
    assert isinstance(scenario, Scenario)
    result = run(scenario, Trace(heard.append))
    assert result.violation is None
    assert result.marks["snapshot taken"]
    assert any(one.kind == "rejected" and "a snapshot's" in one.detail for one in heard)


def test_latecomers_hold_under_lies_losses_and_crashes_while_they_take_a_snapshot() -> None:
    taken = 0
    for seed in range(8):
        result = run(latecomer(seed))
        assert result.violation is None, (seed, result.violation)
        taken += result.marks.get("snapshot taken", 0)
    assert taken >= 8


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("snapshot_unproven", 5),
        ("snapshot_unsigned", 44),
        ("snapshot_other_outcomes", 5),
        ("snapshot_other_state", 27),
        ("snapshot_without_nonces", 0),
    ],
)
def test_what_a_taker_does_not_check_is_noticed(name: str, seed: int) -> None:
    found = hunt_seeds(BY_NAME[name], [seed])
    assert found.how.startswith("snapshot:")


def test_a_liar_about_snapshots_among_nodes_that_make_none_is_refused() -> None:
    text = dump(latecomer(0))
    start = text.index("snapshots = ")
    with pytest.raises(ScenarioError, match="say snapshots = "):
        parse(text[:start] + text[text.index("\n", start) + 1 :], "mine.toml")
