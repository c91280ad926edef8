"""The real failure detector in larger federations: who is away is missed, nobody else is ever dead to anybody."""

import msgspec
import pytest

from gossip.membership.detector import Detector
from simulations.guest_world import GuestScenario, guest_seed
from simulations.library import named
from simulations.running import run_any
from simulations.worlds.faults import Crash, Pause
from simulations.worlds.setting import Network

CORE = "simulations.detectors:Detectors"
AWAY = GuestScenario(
    seed=1,
    core=CORE,
    nodes=25,
    parameters={"gone": 24},
    network=Network(loss_ppm=20_000),
    faults=(Pause(node=24, at_ms=1_500, for_ms=6_000),),
    heal_ms=9_000,
    bound_ms=30_000,
)


def test_who_is_away_is_missed_and_taken_back() -> None:
    result = run_any(AWAY)
    assert result.violation is None
    assert result.marks["noted Suspected"] > 24
    assert all("suspects=0" in state for state in result.states)


def test_the_scenario_of_a_thousand_holds_with_fewer() -> None:
    scenario = named("thousand-members")
    assert isinstance(scenario, GuestScenario)
    last = 59
    faults = tuple(
        msgspec.structs.replace(one, node=last) if isinstance(one, Crash) else one
        for one in scenario.faults
    )
    fewer = msgspec.structs.replace(
        scenario, nodes=last + 1, faults=faults, parameters={"gone": last}
    )
    assert run_any(fewer).violation is None


def test_who_only_loses_messages_is_dead_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Detector, "is_dead", Detector.is_suspect)
    scenario = msgspec.structs.replace(AWAY, network=Network(loss_ppm=400_000))
    violation = run_any(scenario).violation
    assert violation is not None
    assert violation.startswith("nobody healthy dead: ")


def test_that_nobody_missed_who_was_away_is_noticed() -> None:
    scenario = msgspec.structs.replace(AWAY, faults=(), network=Network())
    violation = run_any(scenario).violation
    assert violation is not None
    assert "nobody noticed that n24 was away" in violation


@pytest.mark.parametrize("seed", [*range(4), 4452])
def test_after_faults_nobody_is_suspected(seed: int) -> None:
    assert run_any(guest_seed(CORE, seed)).violation is None
