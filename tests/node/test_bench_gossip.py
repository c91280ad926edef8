"""The world in which detection is measured: repeatable, and honest about what it sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gossip.membership.mesh import MeshHabits
from node.bench import gossip_upkeep
from node.bench.detection_world import DetectionWorld
from node.bench.gossip import (
    SETTINGS,
    Measured,
    Setting,
    as_markdown,
    extra_of_losses,
    measure_one,
    told,
)
from node.bench.gossip_upkeep import (
    OWN,
    Cheaper,
    Cost,
    KindFigures,
    UpkeepFigures,
    break_even,
    by_kind,
    compared,
    upkeep_of_memberlist,
    upkeep_of_members,
)
from node.bench.membership_world import EVERYBODY, MembershipWorld
from node.bench.meshed_world import MeshedWorld, PlottingWorld

UPKEEP = UpkeepFigures(
    nodes=8,
    links_mean=7,
    links_most=7,
    messages_per_node_s=2.5,
    bytes_per_node_s=60,
    kinds={"Ping": KindFigures(1, 16), "Pong": KindFigures(1, 26), "Records": KindFigures(0.5, 18)},
    not_alive=0,
)


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


@pytest.mark.parametrize("upkeep_of", [upkeep_of_members, upkeep_of_memberlist])
def test_what_a_calm_federation_says_adds_up_by_kind(
    upkeep_of: Callable[[int], UpkeepFigures],
) -> None:
    figures = upkeep_of(9)
    assert figures.not_alive == 0
    kinds = figures.kinds.values()
    assert sum(one.messages_per_node_s for one in kinds) == pytest.approx(
        figures.messages_per_node_s, abs=0.01
    )
    assert sum(one.bytes_per_node_s for one in kinds) == pytest.approx(
        figures.bytes_per_node_s, abs=0.1
    )


def test_among_calm_members_questions_for_records_count_and_nobody_is_suspected() -> None:
    figures = upkeep_of_members(9)
    assert (figures.links_mean, figures.links_most) == (8, 8)
    assert {"Ping", "Pong", "FetchSince"} <= figures.kinds.keys()
    assert figures.kinds.keys().isdisjoint({"ProbeFor", "Rumours", "FetchVoices", "Voices"})


def test_exchanges_of_whole_states_are_part_of_memberlist_s_upkeep() -> None:
    kinds = upkeep_of_memberlist(9).kinds
    assert set(kinds) == {"ping", "ack", "push-pull"}
    # Each begins one in 30 s, and both sides tell all nine states.
    assert kinds["push-pull"].messages_per_node_s == pytest.approx(2 / 30, rel=0.1)


def test_beyond_fifty_members_are_connected_with_some_unless_all_are_wanted() -> None:
    few, all_others = (MembershipWorld(52, seed=1, habits=habits) for habits in (None, EVERYBODY))
    for world in (few, all_others):
        world.run(40_000)
        assert world.not_alive() == 0
    assert {"Records", "Hello", "Handshake", "Spare"} < few.sent.keys()
    assert min(few.links()) >= MeshHabits().neighbours
    assert sum(few.links()) < 52 * 51 * 3 / 4
    assert all_others.links() == [51] * 52


def test_a_member_that_ends_among_whole_members_is_dead_to_all_others() -> None:
    world = MembershipWorld(9, seed=1)
    world.run(5_000)
    gone = world.names[3]
    world.kill(gone)
    world.run(20_000)
    assert all(world.is_dead_to(node, gone) for node in world.names if node != gone)
    assert {"ProbeFor", "Rumours"} < world.sent.keys()


def test_the_same_calm_world_says_the_same() -> None:
    one, other = (MembershipWorld(9, seed=4) for _ in range(2))
    for world in (one, other):
        world.run(60_000)
    assert one.sent == other.sent


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_loss_costs_something_where_nothing_else_is_wrong(setting: Setting) -> None:
    row = measure_one(12, setting, 2)
    if setting.slow or setting.liars:
        assert row.bytes_per_loss is None
    else:
        assert row.bytes_per_loss is not None
        assert row.bytes_per_loss > 0


def test_without_losses_two_equal_worlds_have_nothing_that_a_loss_has_cost() -> None:
    one, other = (DetectionWorld(9, loss=0, slow=0, liars=0, seed=1) for _ in range(2))
    one.run(20_000)
    assert extra_of_losses(one, other) == 0


def test_what_the_lost_would_have_said_is_not_taken_for_saved() -> None:
    one, other = (DetectionWorld(9, loss=0, slow=0, liars=0, seed=1) for _ in range(2))
    one.run(10_000)
    said_bytes = one.size_bytes
    for name in one.names:
        one.kill(name)
    one.run(10_000)
    # All are gone for the second half: the other world's second half is none of theirs.
    assert extra_of_losses(one, other) == pytest.approx(0, abs=0.02 * said_bytes)


@pytest.mark.parametrize(
    ("ours", "theirs", "losses", "cheaper"),
    [
        (Cost(40, 14_000), Cost(600, 2_000), 168, Cheaper.BELOW),
        (Cost(600, 2_000), Cost(40, 14_000), 168, Cheaper.ABOVE),
        (Cost(40, 2_000), Cost(600, 14_000), None, Cheaper.ALWAYS),
        (Cost(40, 2_000), Cost(600, 2_000), None, Cheaper.ALWAYS),
        (Cost(600, 14_000), Cost(40, 2_000), None, Cheaper.NEVER),
        (Cost(600, 2_000), Cost(600, 2_000), None, Cheaper.NEVER),
    ],
)
def test_so_many_losses_an_hour_make_both_cost_the_same(
    ours: Cost, theirs: Cost, losses: float | None, cheaper: Cheaper
) -> None:
    assert break_even(ours, theirs) == (losses, cheaper)
    if losses is not None:
        per_s = losses / 3_600
        assert ours.upkeep_per_s + per_s * ours.per_loss == pytest.approx(
            theirs.upkeep_per_s + per_s * theirs.per_loss
        )


def test_upkeep_is_compared_with_another_s() -> None:
    theirs = replace(UPKEEP, bytes_per_node_s=120, messages_per_node_s=2, links_mean=None)
    row = compared(UPKEEP, theirs, "other", 1_800, 600)
    assert row["system"] == "other"
    assert row["bytes_per_node_s"] == 120
    assert row["ratio_bytes_per_node_s"] == 0.5
    assert row["ratio_messages_per_node_s"] == 1.25
    assert (row["our_bytes_per_loss"], row["bytes_per_loss"]) == (1_800, 600)
    assert (row["losses_per_hour_at_equal_bytes"], row["ours_is_cheaper"]) == (180, "below")
    unknown = compared(UPKEEP, replace(theirs, bytes_per_node_s=0), "other", None, 600)
    assert unknown["ratio_bytes_per_node_s"] is None
    assert unknown["ours_is_cheaper"] is unknown["losses_per_hour_at_equal_bytes"] is None


def test_all_figures_are_told_by_name() -> None:
    lossy, calm = (measure_one(8, setting, 1) for setting in (Setting(loss=0.1), Setting()))
    upkeep = {OWN: [UPKEEP], "memberlist": [replace(UPKEEP, bytes_per_node_s=120)]}
    rows = {name: [lossy, calm] for name in ("full", "mesh", "memberlist")}
    said = told(Measured(rows, upkeep), ("full", "mesh"), ("memberlist",))
    assert [row["world"] for row in said["rows"]] == ["full", "full", "mesh", "mesh"]
    assert {"nodes", "links_mean", "links_most", "kinds", "not_alive"} < said["upkeep"][0].keys()
    assert len(said["against"]) == 2
    # What a loss costs is that of the row in which nothing else is wrong.
    assert said["upkeep_against"][0]["our_bytes_per_loss"] == calm.bytes_per_loss
    alone = told(Measured(rows, upkeep), ("mesh",), ())
    assert alone.keys() == {"rows", "upkeep"}


def test_the_table_of_upkeep_names_what_costs_most_first() -> None:
    lines = gossip_upkeep.as_markdown([("one", UPKEEP), ("other", UPKEEP)]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert {len(line) for line in cells} == {6}
    assert [line[1] for line in cells[2:]] == ["one", "other"]
    assert by_kind(UPKEEP) == cells[2][-1] == "Pong 26, Records 18, Ping 16"
