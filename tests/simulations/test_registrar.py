"""The registry while a federation runs: liars are punished, keys rotated, powers reckoned again, and nothing breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from consensus.engine import Engine
from consensus.messages import Certified, StateVote
from gossip.codec import Wire
from gossip.effects import Broadcast
from gossip.identity import NodeId, Signer
from simulations.hunting.explore import run_seed
from simulations.liars.schemes import StateLiar
from simulations.registrar import Registrar, is_bearable
from simulations.running import run_any
from simulations.scenario import Actor, Clients, Deed, Delays, Scenario
from simulations.scenario_file import dump, load
from simulations.seeds.expand import registering
from simulations.worlds.faults import Crash

_REGRESSIONS = Path(__file__).parent / "regressions"


def test_sets_that_change_by_stake_punishment_and_rotation_break_nothing() -> None:
    runs = [run_seed(seed, family="registries") for seed in range(16)]
    assert [one for one in runs if one.violation is not None] == []
    marks = {mark for one in runs for mark in one.marks}
    assert {"liar punished", "seat lost", "voting key rotated", "epoch change"} <= marks


def test_a_key_that_is_forgotten_before_its_blocks_are_certified_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Down in the turn that executes its rotation, and again before the others have its word of that block."""
    once = load(_REGRESSIONS / "rotated-away-before-certified.toml")
    again = msgspec.structs.replace(once.faults[0], at_ms=1_222, in_turn=False)
    delays = Delays(progress_cap_ms=1_000)
    twice = msgspec.structs.replace(once, delays=delays, faults=(*once.faults, again))
    assert run_any(twice).violation is None
    monkeypatch.setattr(Engine, "has_certified_earlier_epochs", lambda _engine, _certified: True)
    assert "has certificates up to" in str(run_any(twice).violation)


_TWICE = Scenario(
    name="rotated-twice-before-certified",
    why="""While one is down and one never says what came of a block, nothing is certified, and a third rotates twice.
    Then it dies, and so does who has its word.""",
    seed=0,
    weights=(1, 1, 1, 1),
    clients=Clients(transactions=8),
    delays=Delays(progress_cap_ms=1_000),
    actors=(Actor(node=1, kind="state_liar"),),
    by_stake=True,
    deeds=(Deed(node=0, at_ms=600), Deed(node=0, at_ms=1_000)),
    faults=(
        Crash(at_ms=500, node=3, down_ms=1_500),
        Crash(at_ms=1_700, node=0, down_ms=50),
        Crash(at_ms=1_760, node=2, down_ms=50),
    ),
    heal_ms=2_600,
)


def test_two_keys_that_were_rotated_away_sign_what_their_blocks_came_to_and_one_is_not_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent(_liar: StateLiar, to: tuple[NodeId, ...], message: Wire) -> list[Broadcast]:
        return [] if isinstance(message, StateVote | Certified) else [Broadcast(to, message)]

    monkeypatch.setattr(StateLiar, "cast", silent)
    done = run_any(_TWICE)
    assert done.violation is None
    assert done.marks["voting key rotated"] == 6, "twice, seen by three"

    kept, starts = Registrar.keys, Counter[int]()

    def without_the_oldest(made: Registrar, node: int, key: Signer) -> Sequence[Signer]:
        starts[node] += 1
        if starts[node] > 1 and node in made._keys:
            return made._keys[node][1:]
        return kept(made, node, key)

    monkeypatch.setattr(Registrar, "keys", without_the_oldest)
    assert "has certificates up to" in str(run_any(_TWICE).violation)


@pytest.mark.parametrize("seed", range(8))
def test_its_scenario_is_written_and_read_as_it_is(seed: int, tmp_path: Path) -> None:
    scenario = registering(seed)
    path = tmp_path / "registry.toml"
    path.write_text(dump(scenario))
    assert load(path) == scenario


def test_liars_that_a_cut_of_the_others_makes_too_heavy_are_not_bearable() -> None:
    assert is_bearable((1, 1, 1, 1), (3,), 0, ())
    assert not is_bearable((1, 1, 1, 1), (2, 3), 0, ())
    assert not is_bearable((3, 3, 1, 1), (2, 3), 0, ()), "2 of 8, but capped they are 2 of 4"
    assert is_bearable((2, 2, 2, 1), (3,), 0, ())
    grown = (Deed(node=0, at_ms=0, to=0, power=2),)
    assert not is_bearable((2, 2, 2, 2, 2, 3, 3), (5, 6), 0, grown), "whole they are 6 of 18"
