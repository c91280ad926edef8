"""Proposals name transactions: what a replica takes, asks for and hands over."""

from __future__ import annotations

import msgspec

from consensus.engine import Received
from consensus.merkle import merkle_root
from consensus.messages import Fetched, FetchTransactions, Proposal, proposal_bytes
from consensus.operations.transactions import Transaction
from consensus.pbft.gathering import FETCH_TIMER
from gossip.effects import Broadcast, Cause, Effect, Rejected, Send, SetTimer
from tests.consensus.story import Actor, Story


def told(*commands: str) -> Story:
    story = Story()
    for command in ("nodes 1 1 1 1", "deliver", *commands):
        story.play(command)
    return story


def proposal_to(story: Story, number: int) -> Proposal:
    found = [
        one.message
        for one in story.letters
        if one.target == number and isinstance(one.message, Proposal)
    ]
    return found[0]


def heard(story: Story, source: int, target: int, message: object) -> list[Effect]:
    actor: Actor = story.actors[target]
    assert actor.engine is not None
    assert isinstance(message, Proposal | Fetched | FetchTransactions)
    event = Received(story.actors[source].node_id, message)
    effects = actor.engine.handle(story.now_ms, event)
    actor.engine.check_invariants()
    return effects


def prepares(effects: list[Effect]) -> int:
    return sum(
        isinstance(one, Broadcast) and type(one.message).__name__ == "Vote" for one in effects
    )


def resigned(story: Story, proposal: Proposal, **changes: object) -> Proposal:
    """The proposal with changes, under its leader's signature."""
    lie = msgspec.structs.replace(proposal, **changes)
    signed = proposal_bytes(
        story.genesis.federation_id, lie.epoch, lie.view, lie.height, lie.digest
    )
    signature = story.keys.signer(b"voting", 0).sign(signed)
    return msgspec.structs.replace(lie, signature=signature)


def test_a_proposal_is_small_whatever_the_transactions_are() -> None:
    story = told("submit 0")
    proposal = proposal_to(story, 1)
    assert len(proposal.transactions) == 1
    assert all(len(one) == 32 for one in proposal.transactions)


def test_ids_that_are_not_those_of_the_header_are_refused() -> None:
    story = told("submit 0", "only transactions")
    proposal = proposal_to(story, 1)
    for names in ((), (bytes(32),), proposal.transactions * 2):
        (refused,) = heard(story, 0, 1, resigned(story, proposal, transactions=names))
        assert isinstance(refused, Rejected)
        assert "twice" in refused.reason or "root" in refused.reason


def test_without_the_bodies_nobody_votes_and_the_sender_of_the_proposal_is_asked_first() -> None:
    story = told("submit 0")
    proposal = proposal_to(story, 1)
    effects = heard(story, 0, 1, proposal)
    assert prepares(effects) == 0
    assert SetTimer(FETCH_TIMER, 20) in effects
    story.play("lose transactions")
    story.letters = [one for one in story.letters if one.target != 1]
    story.play("wait 20")
    actor = story.actors[1]
    assert actor.engine is not None
    assert not actor.engine.replica.is_gathering
    assert actor.engine.height == 1


def test_a_body_that_comes_by_itself_completes_the_proposal() -> None:
    story = told("submit 0")
    (letter,) = [
        one
        for one in story.letters
        if one.target == 1 and type(one.message).__name__ == "Transactions"
    ]
    assert prepares(heard(story, 0, 1, proposal_to(story, 1))) == 0
    actor = story.actors[1]
    assert actor.engine is not None
    effects = actor.engine.handle(story.now_ms, Received(story.actors[0].node_id, letter.message))
    assert prepares(effects) == 1


def test_a_forged_body_is_refused_and_the_proposal_with_it() -> None:
    story = told("submit 0")
    proposal = proposal_to(story, 1)
    engine = story.actors[0].engine
    assert engine is not None
    sound = engine.mempool.get(proposal.transactions[0])
    assert sound is not None
    forged = Transaction.of(sound.body, bytes(64))
    header = msgspec.structs.replace(proposal.header, tx_root=merkle_root((forged.id,)))
    lie = resigned(story, proposal, header=header, transactions=(forged.id,))
    assert prepares(heard(story, 0, 1, lie)) == 0
    effects = heard(story, 0, 1, Fetched((forged.raw,)))
    assert prepares(effects) == 0
    assert any(isinstance(one, Rejected) and "signature" in one.reason for one in effects)


def test_bodies_that_nobody_asked_for_are_not_kept() -> None:
    story = told("submit 0")
    engine = story.actors[0].engine
    assert engine is not None
    (sound,) = engine.mempool.waiting(1)
    (refused,) = heard(story, 0, 1, Fetched((sound.raw,)))
    assert isinstance(refused, Rejected)
    assert refused.cause is Cause.UNASKED
    other = story.actors[1].engine
    assert other is not None
    assert other.mempool.size == 0


def test_only_validators_are_handed_transactions() -> None:
    story = told("submit 0", "observer")
    names = proposal_to(story, 1).transactions
    (answer,) = heard(story, 1, 0, FetchTransactions(names))
    assert isinstance(answer, Send)
    assert isinstance(answer.message, Fetched)
    (refused,) = heard(story, 4, 0, FetchTransactions(names))
    assert isinstance(refused, Rejected)
