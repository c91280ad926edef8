"""The world in which detection is measured: repeatable, and honest about what it sees."""

from __future__ import annotations

import pytest

from gossip.membership.mesh import MeshHabits
from node.bench.detection_world import DetectionWorld
from node.bench.gossip import SETTINGS, Setting, as_markdown, measure_one
from node.bench.meshed_world import MeshedWorld, PlottingWorld


@pytest.mark.parametrize("setting", SETTINGS)
def test_losses_are_found_by_all_and_nobody_healthy_is_declared_dead(setting: Setting) -> None:
    row = measure_one(16, setting, 3)
    assert row.lost == 3
    assert row.false_positives_per_node_hour == 0
    assert row.undetected == 0
    assert 0 < row.detect_p50_s <= row.detect_p99_s < 31
    assert row.disseminate_p99_ms < 3_000


@pytest.mark.parametrize("setting", SETTINGS)
def test_among_neighbours_losses_are_found_by_all_as_well(setting: Setting) -> None:
    row = measure_one(60, setting, 4, MeshedWorld)
    assert row.false_positives_per_node_hour == 0
    assert row.undetected == 0
    assert row.detect_p99_s < 31
    assert row.disseminate_p99_ms < 3_000


def test_liars_that_tell_each_other_s_lies_kill_nobody_either() -> None:
    row = measure_one(60, Setting(liars=True), 4, PlottingWorld)
    assert row.false_positives_per_node_hour == 0
    assert row.undetected == 0


@pytest.mark.parametrize(("nodes", "liars"), [(128, 0), (128, 42)])
def test_connections_stay_few_whatever_liars_say(nodes: int, liars: int) -> None:
    world = MeshedWorld(nodes, loss=0, slow=0, liars=liars, seed=5)
    before = world.most_links()
    world.run(20_000)
    world.note_false_deaths()
    assert world.false_deaths == set()
    # No more than a node has room for, and those that were only asked something are let go again.
    assert before <= world.most_links() < MeshHabits().room
    world.run(40_000)
    assert world.most_links() < 50


def test_the_same_world_gives_the_same_figures() -> None:
    setting = Setting(loss=0.1)
    assert measure_one(12, setting, 2) == measure_one(12, setting, 2)


def test_where_nothing_happens_each_node_asks_and_answers_once_a_second() -> None:
    world = DetectionWorld(20, loss=0, slow=0, liars=0, seed=1)
    world.run(20_000)
    assert 38 * 20 <= world.messages <= 42 * 20
    assert world.losses == {}


def test_a_world_that_loses_everything_declares_nobody_dead() -> None:
    """Each suspects all others, and none gathers more than f voices."""
    world = DetectionWorld(8, loss=1, slow=0, liars=0, seed=1)
    world.run(60_000)
    world.note_false_deaths()
    assert all(
        one.core.is_suspect(other) for one in world.residents.values() for other in one.others
    )
    assert world.false_deaths == set()


def test_the_table_has_a_row_of_each_world_below_each_other() -> None:
    calm, lossy = (measure_one(8, setting, 1) for setting in (Setting(), Setting(loss=0.1)))
    lines = as_markdown([("one", calm), ("one", lossy), ("other", calm)]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert {len(line) for line in cells} == {13}
    assert [line[4] for line in cells[2:]] == ["one", "other", "one"]
    assert [line[1] for line in cells[2:]] == ["0", "0", "0.1"]
