"""Blocks of failed views: few in memory, all to be had."""

from __future__ import annotations

from pathlib import Path

import pytest

import consensus.pbft.bodies
from consensus.blocks import Block
from consensus.pbft.bodies import IN_MEMORY, Bodies
from tests.consensus.story import replayed
from tests.consensus.world import Town

GOLDEN = Path(__file__).parent / "golden"


def blocks(count: int) -> tuple[Block, ...]:
    town = Town()
    found = []
    for _ in range(count):
        found.append(town.next_block())
        town.now_ms += 1
    return tuple(found)


def test_old_ones_are_read_from_disk_and_those_that_are_not_there_stay() -> None:
    many = blocks(10)
    disk: dict[bytes, Block] = {one.digest: one for one in many[2:]}
    bodies = Bodies(disk.get)
    for one in many:
        bodies.put(one)
    bodies.thin_out(disk.keys(), (many[3].digest,))
    assert bodies.in_memory() == (many[0], many[1], many[3], *many[-IN_MEMORY:])
    assert [bodies.get(one.digest) for one in many] == list(many)
    assert bodies.get(bytes(32)) is None


@pytest.mark.parametrize("name", ["prepared_survives", "two_view_changes", "crash_and_restart"])
def test_a_story_is_the_same_with_one_body_in_memory(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consensus.pbft.bodies, "IN_MEMORY", 1)
    script = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    assert replayed(script) == script
