"""Where a task goes."""

from __future__ import annotations

import pytest

from gossip.identity import NodeId
from inference.placement import NoPlaceError, choose_place

OWN, GOOD, OTHER = (NodeId(bytes([number]) * 32) for number in range(3))


@pytest.mark.parametrize(
    ("serves", "candidates", "wanted", "executor"),
    [
        (True, (), None, OWN),
        (True, (GOOD,), None, OWN),
        (False, (GOOD, OTHER), None, GOOD),
        (True, (GOOD, OTHER), OTHER, OTHER),
        (True, (GOOD,), OWN, OWN),
    ],
)
def test_a_task_goes_to_whom_was_asked_for_then_here_then_to_the_best_peer(
    serves: bool, candidates: tuple[NodeId, ...], wanted: NodeId | None, executor: NodeId
) -> None:
    place = choose_place("embed", own=OWN, serves=serves, candidates=candidates, wanted=wanted)
    assert place.executor == executor
    assert place.reason


@pytest.mark.parametrize(
    ("serves", "candidates", "wanted", "why"),
    [
        (False, (), None, "neither this node nor a reachable peer"),
        (False, (GOOD,), OWN, "does not do tasks of kind 'embed'"),
        (True, (GOOD,), OTHER, OTHER.hex()[:12]),
    ],
)
def test_a_task_without_a_place_is_told_why(
    serves: bool, candidates: tuple[NodeId, ...], wanted: NodeId | None, why: str
) -> None:
    with pytest.raises(NoPlaceError, match=why):
        choose_place("embed", own=OWN, serves=serves, candidates=candidates, wanted=wanted)
