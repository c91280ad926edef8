"""A program that does not know the federation's protocol takes no block by its own rules, and votes for none."""

from __future__ import annotations

from typing import ClassVar

import pytest

from consensus.auditing import Follower, NewerProtocolError
from consensus.engine import Received, Started, Submit, initial_writes
from consensus.execution import UnknownProtocol
from consensus.ledger.machine import Ledger
from consensus.messages import Blocks, Vote
from consensus.operations.validators import ApproveParameter
from consensus.replay import replay
from gossip.effects import Effect, Notify
from tests.consensus.story import Actor, Story
from tests.consensus.test_auditing import chain_of
from tests.consensus.world import MemoryReader


class Newer(Ledger):
    speaks: ClassVar[int] = 2


def raised(*, away: bool) -> Story:
    """Three of four know protocol 2 and have voted for it; the fourth does not, and was perhaps not there."""
    story = Story()
    story.rules = dict.fromkeys(range(3), Newer)
    for command in ("nodes 1 1 1 1", "submit 0", "wait 600", *(("crash 3",) if away else ())):
        story.play(command)
    for number in range(3):
        story.ask(number, ApproveParameter("protocol_version", 2))
    for command in ("wait 600", "submit 1", "wait 600", "submit 2", "wait 600"):
        story.play(command)
    return story


def last_of_the_first(story: Story) -> int:
    """The block that the vote came to its end in."""
    blocks = list(chain_of(story.actors[0]))
    ledger = Newer(story.genesis, story.keys.verifier)
    for item in blocks:
        ledger.execute(item.block)
        if ledger.protocol_version == 2:
            assert item.block.height < len(blocks)
            return item.block.height
    raise AssertionError("it was never raised")


def ends(effects: list[Effect]) -> list[object]:
    return [one.what for one in effects if isinstance(one, Notify)]


def height_of(actor: Actor) -> int:
    assert actor.engine is not None
    assert actor.engine.ledger.height == actor.engine.chain.height()
    return actor.engine.height


@pytest.mark.parametrize("away", [False, True], ids=["voting", "catching up"])
def test_it_stops_behind_the_last_block_of_the_protocol_that_it_knows(away: bool) -> None:
    story = raised(away=away)
    last, old = last_of_the_first(story), story.actors[3]
    if away:
        story.play("restart 3")
        story.play("wait 1000")
    assert height_of(old) == last
    assert height_of(story.actors[0]) > last, "the others go on"
    engine = old.engine
    assert engine is not None
    following = tuple(chain_of(story.actors[0]))[last : last + 1]
    for event in (Received(story.actors[0].node_id, Blocks(following)), Submit(())):
        assert engine.handle(story.now_ms, event) == []
    assert ends(engine.handle(story.now_ms, Started())) == [UnknownProtocol(2, last)]


def test_blocks_fetched_at_once_are_taken_up_to_the_last_that_it_knows_the_rules_of() -> None:
    story = raised(away=True)
    last, old = last_of_the_first(story), story.actors[3]
    blocks = Blocks(tuple(chain_of(story.actors[0])))
    story.play("restart 3")
    assert old.engine is not None
    effects = old.engine.handle(story.now_ms, Received(story.actors[0].node_id, blocks))
    assert ends(effects)[-1] == UnknownProtocol(2, last)
    assert old.engine.height == last
    assert not [one for one in effects if isinstance(getattr(one, "message", None), Vote)]


def test_a_newer_program_goes_on_from_the_same_disks() -> None:
    story = raised(away=False)
    story.rules[3] = Newer
    for command in ("crash 3", "restart 3", "submit 3", "wait 1500"):
        story.play(command)
    ledgers = [one.engine.ledger for one in story.actors if one.engine is not None]
    assert {one.height for one in ledgers} == {height_of(story.actors[0])}
    assert len({one.state_root for one in ledgers}) == 1


def test_an_audit_and_a_replay_say_that_they_can_not_judge_the_rest() -> None:
    story = raised(away=False)
    last = last_of_the_first(story)
    database = MemoryReader()
    database.write(initial_writes(story.genesis, story.keys.verifier))
    following = Follower(story.genesis, database, story.keys.verifier)
    blocks = list(chain_of(story.actors[0]))
    for item in blocks[:last]:
        database.write(following.take(item))
    with pytest.raises(NewerProtocolError, match=f"from height {last + 1} on .* install a newer"):
        following.take(blocks[last])
    *told, end = replay(story.genesis, story.actors[0].chain, story.keys.verifier, 2**62)
    assert [one.fault for one in told] == [None] * last
    assert "install a newer version" in str(end.fault)


def test_no_ledger_executes_by_rules_that_it_does_not_know() -> None:
    story = raised(away=False)
    ledger = Ledger(story.genesis, story.keys.verifier)
    blocks = list(chain_of(story.actors[0]))
    last = last_of_the_first(story)
    for item in blocks[:last]:
        ledger.execute(item.block)
    assert ledger.is_outdated
    with pytest.raises(AssertionError, match="protocol 2 is not known here"):
        ledger.execute(blocks[last].block)
