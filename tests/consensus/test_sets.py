"""Sets of every shape: how many may sleep, who stops all others, and that nothing ever forks."""

from __future__ import annotations

import pytest

from tests.consensus.story import Story

PATIENCE = "wait 40000"


def heights(story: Story) -> list[int]:
    return [one.engine.height for one in story.actors if one.engine is not None]


def agree(story: Story) -> None:
    """No two nodes hold different blocks at one height."""
    engines = [one.engine for one in story.actors if one.engine is not None]
    for height in range(1, min(one.height for one in engines) + 1):
        blocks = [one.chain.block(height) for one in engines]
        assert len({block.digest for block in blocks if block is not None}) == 1


@pytest.mark.parametrize(
    ("powers", "asleep"),
    [
        ("1", ()),
        ("3 1", (1,)),
        ("5 1 1", (1, 2)),
        ("1 1 1 1", (0,)),
        ("1 1 1 1 1", (2,)),
        ("1 1 1 1 1 1", (5,)),
        ("1 1 1 1 1 1 1", (0, 3)),
        ("3 3 2 1 1", (0,)),
        ("5 4 4 3 1 1 1", (1,)),
    ],
)
def test_a_set_goes_on_without_those_it_can_spare(powers: str, asleep: tuple[int, ...]) -> None:
    story = Story()
    story.play(f"nodes {powers}")
    for number in asleep:
        story.play(f"crash {number}")
    awake = next(one.number for one in story.actors if one.engine is not None)
    story.play(f"submit {awake}")
    story.play(PATIENCE)
    assert min(heights(story)) == 1
    agree(story)


@pytest.mark.parametrize(
    ("powers", "asleep"),
    [
        ("1 1", (1,)),
        ("1 1 1", (2,)),
        ("3 1", (0,)),
        ("1 1 1 1", (0, 1)),
        ("1 1 1 1 1 1", (0, 1)),
        ("5 1 1 1", (0,)),
        ("4 2 2 2 2", (0,)),
    ],
)
def test_whoever_holds_a_third_stops_the_others_and_never_forks_them(
    powers: str, asleep: tuple[int, ...]
) -> None:
    story = Story()
    story.play(f"nodes {powers}")
    for number in asleep:
        story.play(f"crash {number}")
    awake = next(one.number for one in story.actors if one.engine is not None)
    story.play(f"submit {awake}")
    story.play(PATIENCE)
    assert max(heights(story)) == 0
    for number in asleep:
        story.play(f"restart {number}")
    story.play(PATIENCE)
    assert min(heights(story)) == 1
    agree(story)
