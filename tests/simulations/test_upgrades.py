"""A newer protocol begins while the federation runs, and not everybody's program knows it."""

from __future__ import annotations

import msgspec
import pytest

from consensus.ledger.machine import Ledger
from simulations.hunting.explore import run_seed
from simulations.library import named
from simulations.running import run_any
from simulations.scenario import Actor, Scenario, Upgrade, fault_of
from simulations.seeds.latecomers import latecomer
from simulations.upgrades import SecondLedger
from simulations.worlds.faults import Partition
from simulations.worlds.trace import Trace


def upgraded() -> Scenario:
    scenario = named("newer-protocol")
    assert isinstance(scenario, Scenario)
    return scenario


def test_who_does_not_know_it_stops_the_others_go_on_and_it_catches_up() -> None:
    lines: list[str] = []
    result = run_any(upgraded(), Trace(lambda entry: lines.append(str(entry))))
    assert result.violation is None
    stopped = next(at for at, line in enumerate(lines) if "stopped" in line)
    assert "n3    stopped      protocol 2 is not known here" in lines[stopped]
    back = next(at for at, line in enumerate(lines) if "n3    installs" in line)
    meanwhile = [line.split()[1] for line in lines[stopped:back] if "executed" in line]
    assert len(meanwhile) > 10
    assert "n3" not in meanwhile
    assert any("n3    executed" in line for line in lines[back:])


def test_without_a_quorum_that_knows_it_the_federation_stays_as_it_is_until_enough_do() -> None:
    scenario = msgspec.structs.replace(
        upgraded(), upgrade=Upgrade(at_ms=500, late=(2, 3), late_ms=3_000)
    )
    result = run_any(scenario)
    assert result.violation is None
    assert "stopped at a newer protocol" not in result.marks


def test_the_newer_rule_is_a_different_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever took blocks of protocol 2 by the rules of protocol 1 would come to another state."""
    monkeypatch.setattr(SecondLedger, "_execute_one", Ledger._execute_one)
    assert str(run_any(upgraded()).violation).startswith("reads: ")


def test_seeds_with_faults_and_liars_break_nothing() -> None:
    runs = [run_seed(seed, family="upgrades") for seed in range(16)]
    assert [one for one in runs if one.violation is not None] == []
    marks = {mark for one in runs for mark in one.marks}
    assert {"stopped at a newer protocol", "epoch change", "blocks fetched"} <= marks


def test_who_was_away_may_come_to_the_newer_protocol_by_a_snapshot() -> None:
    """The old program finds a state of the newer protocol in it, and stops; the newer one goes on from there."""
    marks: set[str] = set()
    for seed in range(8):
        scenario = latecomer(seed)
        named = scenario.faults[0]
        (away,) = named.side if isinstance(named, Partition) else named.nodes_named
        upgrade = Upgrade(at_ms=300, late=(away,), late_ms=scenario.heal_ms)
        result = run_any(msgspec.structs.replace(scenario, actors=(), upgrade=upgrade))
        assert result.violation is None
        marks |= set(result.marks)
    assert {"snapshot taken", "stopped at a newer protocol"} <= marks


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"upgrade": Upgrade(late=(4,))}, "upgrade.late: node 4 is no founder (0 to 3)"),
        ({"upgrade": Upgrade(late_ms=5_000)}, "upgrade: all of it happens by heal_ms = 4000"),
        ({"actors": (Actor(node=3, kind="silent"),)}, "upgrade.late: node 3 lies"),
    ],
)
def test_an_upgrade_that_can_not_be_is_refused(changes: dict[str, object], told: str) -> None:
    assert str(fault_of(msgspec.structs.replace(upgraded(), **changes))).startswith(told)
