"""What a replica still owes after it has lost its memory."""

from consensus.engine import Received
from consensus.messages import Body, FetchBody
from consensus.vote_log import load_vote_log
from gossip.effects import Send
from tests.consensus.story import Story


def told(*commands: str) -> Story:
    story = Story()
    for command in commands:
        story.play(command)
    return story


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
