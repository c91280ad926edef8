"""What a validator that floods costs another one: signatures checked and bytes sent for each of its messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

import consensus.pbft.finality
from consensus.certificates import Ballot, Phase, endorse
from consensus.engine import Received
from consensus.messages import (
    ConsensusMessage,
    FetchBlocks,
    Proposal,
    Status,
    Suspect,
    ViewChange,
    Vote,
    suspect_bytes,
    view_change_bytes,
)
from consensus.pbft.reports import Equivocation
from gossip.codec import encode
from gossip.effects import Broadcast, Cause, Effect, Notify, Rejected, Send
from simulations.worlds.signatures import KeyedHash
from tests.consensus.story import Story

MESSAGES = 60
INSIDER, VICTIM = 1, 3


@dataclass(frozen=True, slots=True)
class Cost:
    """What so many messages of the insider made the victim do."""

    checked: int
    sent_bytes: int
    causes: Counter[Cause]
    exposures: int


def at_work() -> Story:
    """Four validators after a few blocks, with a proposal under way that nobody has voted on."""
    story = Story()
    for command in ("nodes 1 1 1 1", "submit 0", "wait 600", "submit 0", "wait 600", "submit 0"):
        story.play(command)
    story.play("only transactions")
    story.play(f"only proposal {VICTIM}")
    return story


def flooded(make: Callable[[Story, int], ConsensusMessage]) -> Cost:
    """The cost of many messages, `make(story, number)` each."""
    story = at_work()
    engine = story.actors[VICTIM].engine
    assert engine is not None
    messages = [make(story, number) for number in range(MESSAGES)]
    checks = 0
    effects: list[Effect] = []
    sound = KeyedHash.verify

    def counted(self: KeyedHash, public: bytes, message: bytes, signature: bytes) -> bool:
        nonlocal checks
        checks += 1
        return sound(self, public, message, signature)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeyedHash, "verify", counted)
        for message in messages:
            effects += engine.handle(story.now_ms, Received(story.actors[INSIDER].node_id, message))
            engine.check_invariants()
    return Cost(
        checks,
        sum(len(encode(one.message)) for one in effects if isinstance(one, Send))
        + sum(
            len(encode(one.message)) * len(one.to) for one in effects if isinstance(one, Broadcast)
        ),
        Counter(one.cause for one in effects if isinstance(one, Rejected)),
        sum(isinstance(one, Notify) and isinstance(one.what, Equivocation) for one in effects),
    )


def vote(story: Story, number: int, *, height: int = 0, voter: int = INSIDER) -> Vote:
    """A PREPARE for a block of nobody, signed by the insider; `height` counts from the one at hand."""
    engine = story.actors[VICTIM].engine
    assert engine is not None
    digest = number.to_bytes(32, "big")
    ballot = Ballot(Phase.PREPARE, 0, 0, engine.height + 1 + height, digest)
    signer = story.keys.signer(b"voting", INSIDER)
    endorsement = endorse(signer, story.genesis.federation_id, ballot)
    if voter != INSIDER:
        other = story.keys.signer(b"voting", voter).public
        endorsement = type(endorsement)(other, endorsement.signature)
    return Vote(ballot, endorsement)


def test_a_vote_that_is_repeated_costs_no_signature() -> None:
    cost = flooded(lambda story, _: vote(story, 0))
    assert (cost.checked, cost.sent_bytes) == (1, 0)
    assert cost.causes == {Cause.KNOWN: MESSAGES - 1}


def test_a_voter_that_contradicts_itself_is_exposed_once_and_then_passed_over() -> None:
    cost = flooded(vote)
    assert (cost.checked, cost.exposures) == (2, 1)
    assert cost.causes == {Cause.CONTRADICTION: 1, Cause.KNOWN: MESSAGES - 2}


def test_a_leader_that_contradicts_itself_is_exposed_once_and_then_passed_over() -> None:
    def second(story: Story, number: int) -> Proposal:
        (letter, *_) = [one for one in story.letters if isinstance(one.message, Proposal)]
        assert isinstance(letter.message, Proposal)
        changed = letter.message
        for _ in range(number + 1):
            lie = story.lie(story.actors[0], changed)
            assert isinstance(lie, Proposal)
            changed = lie
        return changed

    cost = flooded(second)
    assert (cost.checked, cost.exposures) == (1, 1)


def test_forged_votes_cost_one_signature_each() -> None:
    cost = flooded(lambda story, number: vote(story, number, voter=2))
    assert (cost.checked, cost.sent_bytes) == (MESSAGES, 0)
    assert cost.causes == {Cause.SIGNATURE: MESSAGES}


@pytest.mark.parametrize(("height", "cause"), [(-1, Cause.STALE), (9, Cause.EARLY)])
def test_votes_out_of_place_cost_nothing(height: int, cause: Cause) -> None:
    cost = flooded(lambda story, number: vote(story, number, height=height))
    assert (cost.checked, cost.sent_bytes) == (0, 0)
    assert cost.causes == {cause: MESSAGES}


def test_suspicions_of_ever_later_views_cost_one_signature_each() -> None:
    def suspicion(story: Story, number: int) -> Suspect:
        signer = story.keys.signer(b"voting", INSIDER)
        signed = suspect_bytes(story.genesis.federation_id, 0, number)
        return Suspect(0, number, signer.public, signer.sign(signed))

    cost = flooded(suspicion)
    assert (cost.checked, cost.sent_bytes) == (MESSAGES, 0)


def test_requests_for_ever_later_views_cost_the_signatures_that_they_carry() -> None:
    def change(story: Story, number: int) -> ViewChange:
        engine = story.actors[VICTIM].engine
        assert engine is not None
        tip = engine.replica.tip.certificate
        signer = story.keys.signer(b"voting", INSIDER)
        signed = view_change_bytes(story.genesis.federation_id, 0, number + 1, tip, None)
        return ViewChange(0, number + 1, tip, None, signer.public, signer.sign(signed))

    cost = flooded(change)
    quorum = 3
    assert cost.checked <= MESSAGES * (1 + quorum)
    assert cost.sent_bytes == 0


def test_questions_are_answered_within_bounds() -> None:
    status = flooded(lambda *_: Status(0, 0, True, 0, False, False, 0))
    assert status.checked == 0
    assert status.sent_bytes <= MESSAGES * 16 * 1024
    blocks = flooded(lambda *_: FetchBlocks(1))
    assert blocks.checked == 0
    assert blocks.sent_bytes <= MESSAGES * 2**20


def test_heights_without_certificates_are_bounded_and_certified_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consensus.pbft.finality, "_KEPT_OPEN", 4)
    story = Story()
    story.play("nodes 1 1 1 1")
    for _ in range(20):
        story.play("submit 1")
        story.hand_over(lambda one: one.kind not in {"statevote", "certified"})
    for kind in ("statevote", "certified"):
        story.play(f"lose {kind}")
    engines = [actor.engine for actor in story.actors if actor.engine is not None]
    assert [(one.height, one.certified) for one in engines] == [(20, 0)] * 4
    story.play("crash 2")
    story.play("restart 2")
    story.play("wait 8000")
    assert [
        (actor.engine.height, actor.engine.certified)
        for actor in story.actors
        if actor.engine is not None
    ] == [(20, 20)] * 4
