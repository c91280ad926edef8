"""The real membership core among liars: who is there stays there; records neither go back nor are forged."""

import msgspec
import pytest

import gossip.membership.record_exchange
from gossip.membership.peer_table import News, PeerTable
from simulations.guest_world import GuestScenario, guest_seed
from simulations.library import named
from simulations.running import run_any
from simulations.worlds.result import Result

CORE = "simulations.members:Members"


def calm() -> Result:
    return run_any(named("false-suspicions"))


def test_false_suspicions_kill_nobody() -> None:
    result = calm()
    assert result.violation is None
    assert result.messages > 1_000
    assert all("alive=6" in state for state in result.states[:5])


@pytest.mark.parametrize("seed", range(6))
def test_after_faults_and_among_liars_everybody_finds_everybody(seed: int) -> None:
    assert run_any(guest_seed(CORE, seed)).violation is None


def meshed(seed: int, nodes: int = 16, **more: object) -> GuestScenario:
    """One of the drawn scenarios, in a partial mesh."""
    drawn = guest_seed(CORE, seed)
    parameters = {"neighbours": 3, "liars": 3, **more}
    return msgspec.structs.replace(drawn, nodes=nodes, parameters=parameters, bound_ms=180_000)


@pytest.mark.parametrize("seed", range(4))
def test_in_a_partial_mesh_everybody_finds_everybody_after_faults_too(seed: int) -> None:
    assert run_any(meshed(seed)).violation is None


def test_in_a_partial_mesh_liars_kill_nobody() -> None:
    scenario = msgspec.structs.replace(named("false-suspicions"), nodes=16)
    assert isinstance(scenario, GuestScenario)
    parameters = {**scenario.parameters, "neighbours": 3, "liars": 5}
    result = run_any(msgspec.structs.replace(scenario, parameters=parameters))
    assert result.violation is None
    assert result.messages > 1_000


def test_equal_seeds_give_equal_runs() -> None:
    one, other = (run_any(guest_seed(CORE, 3)) for _ in range(2))
    assert one.trace_hash == other.trace_hash


def test_unchecked_records_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip.membership.record_exchange, "record_fault", lambda *_: None)
    violation = calm().violation
    assert violation is not None
    assert "forged record" in violation


def test_a_record_that_goes_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PeerTable, "judge", lambda *_: News.CHANGE)
    violation = run_any(guest_seed(CORE, 0)).violation
    assert violation is not None
    assert violation.startswith("records")
