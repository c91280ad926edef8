"""The baseline behaves as its authors and papers say, so that a comparison with it means something."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from gossip.identity import NodeId
from node.bench import gossip as bench
from node.bench.gossip import SETTINGS, Setting, compared, measure_one
from node.bench.memberlist_model import MemberlistWorld, Word
from node.cli import main


def accusation(victim: NodeId, accuser: NodeId) -> Word:
    return Word("suspect", victim, 1, accuser)


def test_where_nothing_happens_each_node_pings_and_answers_once_a_second() -> None:
    world = MemberlistWorld(20, loss=0, slow=0, liars=0, seed=1)
    world.run(20_000)
    assert 39 * 20 <= world.messages <= 43 * 20
    assert all(other.state == 0 for one in world.nodes.values() for other in one.others.values())


@pytest.mark.parametrize("setting", SETTINGS[:3])
def test_losses_are_found_by_all(setting: Setting) -> None:
    row = measure_one(16, setting, 4, MemberlistWorld)
    assert row.undetected == 0
    assert row.false_positives_per_node_hour == 0
    assert 0 < row.detect_p50_s <= row.detect_p99_s < 31


def test_first_detection_takes_a_period_and_a_half_and_death_four_seconds_more() -> None:
    row = measure_one(32, Setting(), 24, MemberlistWorld)
    assert 1 < row.detect_p50_s < 2.2
    assert row.dead_p50_s - row.detect_p50_s >= 4


def test_gossip_reaches_thirty_two_members_in_the_published_time() -> None:
    """A suspicion without further accusers: a liar's, which is answered soon after."""
    world = MemberlistWorld(32, loss=0, slow=0, liars=0, seed=2)
    world.run(3_000)
    victim, teller = world.names[0], world.nodes[world.names[1]]
    world.kill(victim)
    teller.take(accusation(victim, teller.node))
    told_ms = world.now_ms
    world.run(3_000)
    known = sorted(at_ms - told_ms for at_ms in world.losses[victim].known_ms.values())
    assert len(known) == 31
    assert 200 <= known[-1] <= 1_200


def test_who_is_accused_refutes_with_a_higher_number() -> None:
    world = MemberlistWorld(12, loss=0, slow=0, liars=0, seed=3)
    world.run(2_000)
    victim, teller = world.names[0], world.nodes[world.names[1]]
    teller.take(accusation(victim, teller.node))
    world.run(3_000)
    assert world.nodes[victim].incarnation == 2
    assert all(
        (one.others[victim].state, one.others[victim].incarnation) == (0, 2)
        for one in world.nodes.values()
        if one.node != victim
    )


def test_two_confirmations_shorten_the_time_to_refute_sixfold() -> None:
    ends = []
    for confirmations in (0, 1, 2):
        world = MemberlistWorld(9, loss=1, slow=0, liars=0, seed=4)
        victim, one = world.names[0], world.nodes[world.names[1]]
        for accuser in world.names[2 : 3 + confirmations]:
            one.take(accusation(victim, accuser))
        while one.others[victim].state != 2:
            world.run(100)
        ends.append(world.now_ms)
    assert ends[0] == 24_000
    assert ends[0] > ends[1] > ends[2] == 4_000


def test_the_command_prints_both_and_the_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SIZES", (8,))
    monkeypatch.setattr(bench, "SETTINGS", (Setting(),))
    monkeypatch.setattr(bench, "_MOST_LOST", 4)
    done = CliRunner().invoke(main, ["bench", "gossip", "--against", "memberlist", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    ours, theirs = told["rows"][0], told["against"][0]
    assert theirs["system"] == "memberlist"
    assert theirs["ratio_detect_p50_s"] == round(ours["detect_p50_s"] / theirs["detect_p50_s"], 3)
    assert theirs["ratio_messages_per_node_s"] > 0
    upkeep, other = told["upkeep"][0], told["upkeep_against"][0]
    ratio = round(upkeep["bytes_per_node_s"] / other["bytes_per_node_s"], 3)
    assert other["ratio_bytes_per_node_s"] == ratio
    assert other["our_bytes_per_loss"] == ours["bytes_per_loss"]
    assert other["bytes_per_loss"] == theirs["bytes_per_loss"]


def test_a_ratio_over_nothing_is_none() -> None:
    row = measure_one(8, Setting(), 1, MemberlistWorld)
    silent = replace(row, bytes_per_node_s=0)
    assert compared(row, silent, "silence")["ratio_bytes_per_node_s"] is None
