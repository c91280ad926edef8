"""The real membership core among liars: who is there stays there; records neither go back nor are forged."""

import pytest

import gossip.membership.record_exchange
from gossip.membership.peer_table import News, PeerTable
from simulations.guest_world import guest_seed
from simulations.library import named
from simulations.running import run_any
from simulations.world import Result

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
    violation = calm().violation
    assert violation is not None
    assert violation.startswith("records")
