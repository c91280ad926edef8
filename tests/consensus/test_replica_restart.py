"""What a replica still owes after it has lost its memory."""

from __future__ import annotations

from consensus.certificates import Ballot, Phase, endorse
from consensus.engine import Engine, EngineEvent, PeerConnected, Received, Started
from consensus.messages import AskVotes, Blocks, Body, FetchBody, NewestVotes, Status, Vote
from consensus.pbft.own_votes import VotesElsewhere
from consensus.pbft.vote_log import load_vote_log
from gossip.effects import Broadcast, Effect, Notify, Persist, Send, Store
from tests.consensus.story import Actor, Story
from tests.consensus.world import MemoryReader


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


class Restored:
    """A validator from a copy of its databases."""

    def __init__(self, story: Story, actor: Actor, *, asks_at_start: bool) -> None:
        self._now_ms = story.now_ms
        self._stores: dict[Store, MemoryReader] = {
            one: MemoryReader(tuple(actor.store(one).scan(b"")))
            for one in Store
            if one in (Store.CHAIN, Store.VOTES, Store.POOL)
        }
        self.engine = Engine(
            genesis=story.genesis,
            voting_key=story.keys.signer(b"voting", actor.number),
            verifier=story.keys.verifier,
            chain=self._stores[Store.CHAIN],
            votes=self._stores[Store.VOTES],
            pool=self._stores[Store.POOL],
            asks_at_start=asks_at_start,
        )

    def turn(self, event: EngineEvent) -> list[Effect]:
        effects = self.engine.handle(self._now_ms, event)
        for one in effects:
            if isinstance(one, Persist):
                self._stores[one.store].write(one.writes)
        return effects


def test_a_block_that_the_own_key_decided_elsewhere_silences_it() -> None:
    story = told("nodes 1 1 1 1", "deliver")
    twice, other = story.actors[1], story.actors[2]
    restored = Restored(story, twice, asks_at_start=False)
    for command in ("mute 3", "submit 0", "deliver"):  # so each of the three others is needed
        story.play(command)
    assert other.engine is not None
    item = other.engine.chain.certified_block(1)
    assert item is not None
    restored.turn(Started())
    effects = restored.turn(Received(other.node_id, Blocks((item,))))
    (warned,) = [
        one.what for one in effects if isinstance(one, Notify) and type(one.what) is VotesElsewhere
    ]
    assert warned.sentence == "it had a part in deciding block 1, which this node's log lacks"
    assert restored.engine.height == 1
    assert restored.engine.keys.is_silenced


def test_what_was_decided_before_the_others_answered_silences_nobody() -> None:
    story = told("nodes 1 1 1 1", "deliver")
    twice, peers = story.actors[1], (story.actors[0], story.actors[2])
    restored = Restored(story, twice, asks_at_start=True)
    for command in ("mute 3", "submit 0", "deliver"):
        story.play(command)
    engine = peers[0].engine
    assert engine is not None
    item = engine.chain.certified_block(1)
    assert item is not None
    key = restored.engine.keys.present
    asked = restored.turn(Started())
    assert any(isinstance(one, Broadcast) and one.message == AskVotes(key) for one in asked)
    for peer in peers:
        restored.turn(PeerConnected(peer.node_id))
        restored.turn(Received(peer.node_id, Status(0, 0, True, 1, False, False, 0)))
        restored.turn(Received(peer.node_id, NewestVotes(key, (), None)))
    assert not restored.engine.keys.is_muted
    restored.turn(Received(peers[0].node_id, Blocks((item,))))
    assert restored.engine.height == 1
    assert not restored.engine.keys.is_silenced
