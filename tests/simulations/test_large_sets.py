"""What a block costs in a large set; the table for up to 500 validators is `bizra-sim large-sets`."""

import json
from collections import Counter
from collections.abc import Hashable

import msgspec
import pytest
from click.testing import CliRunner

from consensus.messages import Vote
from simulations.cli import main
from simulations.hunting.explore import run_seed
from simulations.large_sets import Counted, large_set, measure
from simulations.scenario import Scenario
from simulations.worlds.carriage import MAX_MESSAGE_BYTES
from simulations.worlds.process import Process
from simulations.worlds.setting import Network

FIFTY = 50


@pytest.mark.parametrize("collected", [False, True])
def test_a_block_costs_as_many_messages_as_the_protocol_says(*, collected: bool) -> None:
    cost = measure(FIFTY, 1, collected=collected)
    others = FIFTY - 1
    assert cost.violation is None
    assert cost.blocks == 1
    assert cost.messages_per_block == (7 * others if collected else others * (1 + 3 * FIFTY))


def test_collectors_save_bytes_too_and_one_node_sends_most_of_them() -> None:
    apart, together = (measure(FIFTY, 1, collected=one) for one in (False, True))
    assert 3 * together.bytes_per_block < apart.bytes_per_block
    assert 2 * together.busiest_bytes_per_block > together.bytes_per_block
    assert apart.busiest_bytes_per_block < together.busiest_bytes_per_block


@pytest.mark.parametrize("collected", [False, True])
def test_a_large_set_changes_views_by_names_that_fit_in_frames(*, collected: bool) -> None:
    cost = measure(FIFTY, 2, collected=collected, leader_fails=True)
    assert cost.violation is None
    assert cost.blocks == 2
    assert cost.view_changes >= (FIFTY - 1) ** 2 - FIFTY
    assert cost.by_kind["NewViewNames"] >= FIFTY - 1
    assert "NewView" not in cost.by_kind
    assert cost.largest_message_bytes < MAX_MESSAGE_BYTES


class Hearing(Counted):
    """Notes how many at once hear a vote, at most, by its height."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.heard: Counter[int] = Counter()

    def _send(self, process: Process, to: tuple[Hashable, ...], message: object) -> None:
        if isinstance(message, Vote):
            height = message.ballot.height
            self.heard[height] = max(self.heard[height], len(to))
        super()._send(process, to, message)


def test_over_a_distance_collectors_are_waited_for_once_they_are_known() -> None:
    """At 80 ms one way a certificate comes after 160 ms, when votes would have gone to another collector as well."""
    blocks, others = 8, 32
    scenario = msgspec.structs.replace(
        large_set(others + 1, blocks, collected=True),
        network=Network(latency_us=80_000, jitter_us=1_000),
        heal_ms=8_000,
    )
    far = msgspec.structs.replace(
        scenario, clients=msgspec.structs.replace(scenario.clients, interval_ms=800)
    )
    world = Hearing(far)
    assert world.run().violation is None
    assert world.height() > 1
    heard = {height: most for height, most in world.heard.items() if height > 1}
    assert set(heard.values()) == {1}, "no vote goes to two collectors, let alone to everybody"


def test_the_table_is_there_as_json_as_well() -> None:
    run = CliRunner().invoke(main, ["large-sets", "--nodes", "4,34", "--blocks", "1", "--json"])
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    assert [(one["nodes"], one["collected"]) for one in told["runs"]] == [
        (4, False),
        (4, True),
        (34, False),
        (34, True),
    ]
    text = CliRunner().invoke(main, ["large-sets", "--nodes", "4", "--leader-fails"]).stdout
    assert "by collectors" in text
    assert "view changes" in text


@pytest.mark.parametrize("nodes", ["", "fifty", "501", "0"])
def test_sizes_that_make_no_set_are_refused(nodes: str) -> None:
    run = CliRunner().invoke(main, ["large-sets", "--nodes", nodes])
    assert run.exit_code == 2


def test_votes_by_way_of_collectors_break_nothing() -> None:
    runs = [run_seed(seed, family="collectors") for seed in range(40)]
    assert [one for one in runs if one.violation is not None] == []
    marks = {mark for one in runs for mark in one.marks}
    assert {"view change while prepared", "re-proposal after a view change", "restart"} <= marks


@pytest.mark.parametrize("seed", range(3))
def test_a_set_that_is_large_breaks_nothing(seed: int) -> None:
    assert run_seed(seed, family="large-sets").violation is None
