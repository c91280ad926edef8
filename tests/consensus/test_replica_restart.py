"""What a replica still owes after it has lost its memory."""

from consensus.certificates import Ballot, Phase, endorse
from consensus.engine import Received
from consensus.messages import Body, FetchBody, Status, Vote
from consensus.pbft.vote_log import load_vote_log
from gossip.effects import Broadcast, Effect, Send
from tests.consensus.story import Story


def told(*commands: str) -> Story:
    story = Story()
    for command in commands:
        story.play(command)
    return story


def votes(effects: list[Effect]) -> list[Vote]:
    sent = [one.message for one in effects if isinstance(one, Send | Broadcast)]
    return [one for one in sent if isinstance(one, Vote)]


def test_whoever_prepared_a_block_hands_it_over_after_a_restart() -> None:
    story = told(
        "nodes 1 1 1 1",
        "deliver",
        "submit 0",
        "only transactions",
        "only proposal",
        "crash 1",
        "restart 1",
    )
    voter, asker = story.actors[1], story.actors[2]
    (body,) = load_vote_log(voter.votes).bodies
    assert voter.engine is not None
    effects = voter.engine.handle(story.now_ms, Received(asker.node_id, FetchBody(body.digest)))
    assert Send(asker.node_id, Body(body)) in effects


def test_bodies_of_decided_heights_leave_the_vote_log() -> None:
    story = told("nodes 1 1 1 1", "deliver", *["submit 0", "deliver"] * 4)
    for actor in story.actors:
        assert actor.engine is not None
        assert actor.engine.height == 4
        assert [body.height for body in load_vote_log(actor.votes).bodies] == [4]


def test_a_key_that_must_not_vote_any_more_sends_none_of_its_votes_again() -> None:
    story = told("nodes 1 1 1 1", "deliver", "submit 0", "only transactions", "only proposal")
    voter, asker = story.actors[1], story.actors[2]
    assert voter.engine is not None
    key = story.keys.signer(b"voting", 1)
    ballot = Ballot(Phase.PREPARE, 0, 7, 1, bytes(32))
    foreign = Vote(ballot, endorse(key, story.genesis.federation_id, ballot))
    behind = Received(asker.node_id, Status(0, 0, True, 0, False, False, 0))
    assert votes(voter.engine.handle(story.now_ms, behind))
    story.turn(voter, Received(asker.node_id, foreign))
    assert voter.engine.keys.is_silenced
    assert not votes(voter.engine.handle(story.now_ms, behind))
    story.play("crash 1")
    story.play("restart 1")
    assert voter.engine.keys.is_silenced
    assert not votes(voter.engine.handle(story.now_ms, behind))
