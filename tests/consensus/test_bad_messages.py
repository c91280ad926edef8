"""Every kind of message, bad in every way, to an engine in every state: refused for its reason, and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import msgspec
import pytest

from consensus.engine import Received
from consensus.messages import (
    AskVotes,
    CollectedStates,
    CollectedVotes,
    ConsensusMessage,
    Fetched,
    FetchTransactions,
    FetchViewChanges,
    NewViewNames,
    Proposal,
    Transactions,
)
from gossip.codec import DecodeError, decode, encode
from gossip.effects import Cause, Effect, Notify, Persist, Rejected
from tests.consensus.bad_messages import (
    BAD,
    BAD_FROM_OUTSIDE,
    BAD_OUTCOMES,
    BAD_PARTS,
    BAD_VIEWS,
    Bad,
    Scene,
    scene_of,
)
from tests.consensus.story import Story


def _played(*commands: str) -> Story:
    story = Story()
    for command in commands:
        story.play(command)
    return story


_BLOCKS = tuple(line for _ in range(2) for line in ("submit 1", "wait 600"))


def idle() -> Scene:
    """Two blocks are decided and certified, nothing is under way."""
    return scene_of(_played("nodes 1 1 1 1", *_BLOCKS), 3, 1)


def proposed() -> Scene:
    """The leader's proposal is here, and nobody's vote."""
    story = _played("nodes 1 1 1 1", *_BLOCKS, "submit 0", "only transactions", "only proposal 3")
    return scene_of(story, 3, 1)


def asking() -> Scene:
    """Another view is asked for, by too few."""
    story = _played("nodes 1 1 1 1", *_BLOCKS, "crash 0", "crash 2", "submit 1", "wait 1500")
    return scene_of(story, 3, 1)


def second_view() -> Scene:
    """The first leader was replaced."""
    story = _played("nodes 1 1 1 1", *_BLOCKS, "crash 0", "submit 1", "wait 4000")
    return scene_of(story, 3, 1)


def second_epoch() -> Scene:
    """A fifth validator has come."""
    story = _played(
        *("nodes 1 1 1 1", "submit 1", "wait 600", "observer", "admit 0 4", "wait 2000"),
        *(f"seat {number} 4" for number in range(4)),
        *("wait 3000", *_BLOCKS),
    )
    return scene_of(story, 3, 1)


def observer() -> Scene:
    """It has no seat."""
    return scene_of(_played("nodes 1 1 1 1", "observer", *_BLOCKS, "wait 2000"), 4, 1)


STATES: tuple[Callable[[], Scene], ...] = (
    idle,
    proposed,
    asking,
    second_view,
    second_epoch,
    observer,
)

_OTHERWISE = {
    ("proposed", "Proposal-of a block of another chain"): Cause.CONTRADICTION,
    ("proposed", "Proposal-whose transactions are not those of its header"): Cause.CONTRADICTION,
}
"""Another cause: a second proposal of the leader is evidence, whatever else is wrong with it."""
_KEPT = {
    "Proposal-by another than the leader",
    "Proposal-forged",
    "Proposal-signed for another chain",
    "Proposal-of a block of another chain",
    "Proposal-whose transactions are not those of its header",
    "Vote-by nobody with a seat",
    "Vote-forged",
    "Vote-of another chain",
    "Vote-against an earlier one",
    "CollectedVotes-forged",
    "CollectedVotes-of another chain",
    "CollectedVotes-with voters and signatures that do not match",
}
"""Kept while the view that they are of has not begun, the newest few of each peer, and judged when it has."""


def _sent(scene: Scene, message: ConsensusMessage) -> list[Effect]:
    raw = encode(message)
    received: ConsensusMessage = decode(raw, ConsensusMessage)  # type: ignore[arg-type]
    source = scene.story.actors[scene.source].node_id
    effects = scene.engine.handle(scene.story.now_ms, Received(source, received))
    scene.engine.check_invariants()
    return effects


def _refused(scene: Scene, bad: Bad, cause: Cause) -> None:
    """Play what comes before, then the last one: it is refused, and nothing else comes of it."""
    *before, last = bad.make(scene)
    for message in before:
        _sent(scene, message)
    height, view = scene.engine.height, scene.engine.replica.view
    effects = _sent(scene, last)
    refused = [one for one in effects if isinstance(one, Rejected)]
    source = scene.story.actors[scene.source].node_id
    assert [(one.peer, one.cause) for one in refused] == [(source, cause)], refused
    assert refused[0].reason
    assert not any(isinstance(one, Persist) for one in effects)
    assert (scene.engine.height, scene.engine.replica.view) == (height, view)
    if cause is not Cause.CONTRADICTION:
        assert not any(isinstance(one, Notify) for one in effects)


@pytest.mark.parametrize("state", STATES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("bad", BAD, ids=lambda one: one.name)
def test_what_is_bad_is_refused_for_its_reason_and_changes_nothing(
    bad: Bad, state: Callable[[], Scene]
) -> None:
    scene, name = state(), state.__name__
    if name == "asking" and bad.name in _KEPT:
        for message in bad.make(scene):
            assert _sent(scene, message) == []
    elif name == "asking" and bad.name == "CollectedVotes-that do not hold, twice":
        _refused(scene, bad, Cause.KNOWN)
    else:
        _refused(scene, bad, _OTHERWISE.get((name, bad.name), bad.cause))


@pytest.mark.parametrize("bad", BAD_OUTCOMES, ids=lambda one: one.name)
def test_what_is_bad_about_the_outcome_of_a_block_is_refused(bad: Bad) -> None:
    story = _played("nodes 1 1 1 1", *_BLOCKS, "submit 1")
    story.hand_over(lambda one: one.kind != "statevote")
    scene = scene_of(story, 3, 1)
    assert scene.engine.certified < scene.engine.height
    _refused(replace(scene, height=scene.engine.height), bad, bad.cause)


@pytest.mark.parametrize("bad", BAD_VIEWS, ids=lambda one: one.name)
def test_what_is_about_a_view_that_is_over_or_begun_is_refused(bad: Bad) -> None:
    scene = second_view()
    assert scene.view > 0
    assert scene.engine.replica.entered
    _refused(scene, bad, bad.cause)


@pytest.mark.parametrize("bad", BAD_PARTS, ids=lambda one: one.name)
def test_what_is_no_part_of_the_proposal_at_hand_is_refused(bad: Bad) -> None:
    story = _played("nodes 1 1 1 1", *_BLOCKS, "submit 0", "only proposal 3")
    scene = scene_of(story, 3, 1)
    assert scene.engine.replica.is_gathering
    _refused(scene, bad, bad.cause)


@pytest.mark.parametrize("bad", BAD_FROM_OUTSIDE, ids=lambda one: one.name)
def test_what_only_validators_may_send_is_refused_from_others(bad: Bad) -> None:
    story = _played("nodes 1 1 1 1", "observer", *_BLOCKS, "wait 2000")
    _refused(scene_of(story, 3, 4), bad, bad.cause)


_LONG: dict[type, str] = {
    Proposal: "transactions",
    FetchTransactions: "transactions",
    FetchViewChanges: "names",
    NewViewNames: "changes",
    Transactions: "raw",
    Fetched: "raw",
    CollectedVotes: "signatures",
    CollectedStates: "signatures",
}


@pytest.mark.parametrize("kind", _LONG, ids=lambda one: one.__name__)
def test_what_is_longer_than_it_may_be_does_not_decode(kind: type) -> None:
    bad = next(one for one in BAD if one.kind is kind)
    message: Any = bad.make(idle())[-1]
    value = getattr(message, _LONG[kind])
    longer = bytes(64 * 100_000) if isinstance(value, bytes) else (bytes(32),) * 100_000
    raw = encode(msgspec.structs.replace(message, **{_LONG[kind]: longer}))
    with pytest.raises(DecodeError):
        decode(raw, ConsensusMessage)  # type: ignore[arg-type]


def test_the_table_is_about_every_kind_of_message() -> None:
    answered_always = {AskVotes}
    assert {one.kind for one in BAD} == set(get_args(ConsensusMessage)) - answered_always
