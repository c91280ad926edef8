"""An auditor follows a chain that real replicas have decided, epoch after epoch, and is not led astray."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec import structs

from consensus.auditing import Follower, NotTheChainError
from consensus.certificates import StateCertificate, endorse
from consensus.chain import ChainReader
from consensus.engine import initial_writes
from consensus.messages import CertifiedBlock
from consensus.receipts import EpochLink
from consensus.replay import replay
from consensus.verify import Trust
from tests.consensus.story import Actor, Story
from tests.consensus.test_recovery import recovered
from tests.consensus.world import MemoryReader


def follower(story: Story, database: MemoryReader, trust: Trust | None = None) -> Follower:
    return Follower(story.genesis, database, story.keys.verifier, trust)


def begun(story: Story) -> MemoryReader:
    database = MemoryReader()
    database.write(initial_writes(story.genesis, story.keys.verifier))
    return database


def chain_of(actor: Actor) -> Iterator[CertifiedBlock]:
    chain = ChainReader(actor.chain)
    for height in range(1, chain.height() + 1):
        block = chain.certified_block(height)
        assert block is not None
        yield block


def decided() -> tuple[Story, list[CertifiedBlock]]:
    story = Story()
    for command in ("nodes 1 1 1 1", "submit 0", "wait 600", "submit 1", "wait 600"):
        story.play(command)
    blocks = [one for one in chain_of(story.actors[0]) if one.state is not None]
    assert len(blocks) >= 2
    return story, blocks


def test_a_followed_chain_is_the_nodes_own_byte_for_byte() -> None:
    story, blocks = decided()
    database = begun(story)
    following = follower(story, database)
    for block in blocks:
        database.write(following.take(block))
    assert following.height == len(blocks)
    assert following.untrusted() is None
    own = story.actors[0].chain
    assert {key: own.get(key) for key in database.pairs} == database.pairs
    again = follower(story, database)
    assert again.height == following.height
    assert again.stored_root() == again.ledger.state_root
    faults = {one.fault for one in replay(story.genesis, database, story.keys.verifier, 99)}
    assert faults == {None}


def test_a_state_that_a_quorum_of_liars_has_signed_is_found_out() -> None:
    story, blocks = decided()
    first = blocks[0]
    assert first.state is not None
    for field, told in (
        ("state_root", "does not come to the certified state 0000"),
        ("results_root", "does not come to the certified outcomes"),
        ("next_set_hash", "does not come to the certified validators"),
        ("block_hash", "about another block"),
    ):
        statement = structs.replace(first.state.statement, **{field: bytes(32)})
        signers = [story.keys.signer(b"voting", number) for number in range(4)]
        chain = story.genesis.federation_id
        votes = sorted(
            (endorse(one, chain, statement) for one in signers), key=lambda one: one.voter
        )
        lie = structs.replace(first, state=StateCertificate(statement, tuple(votes)))
        with pytest.raises(NotTheChainError, match=told):
            follower(story, begun(story)).take(lie)


def test_without_the_certificate_of_its_state_no_block_is_taken() -> None:
    story, blocks = decided()
    with pytest.raises(NotTheChainError, match="without the certificate of its state"):
        follower(story, begun(story)).take(structs.replace(blocks[0], state=None))
    with pytest.raises(NotTheChainError, match="block 1: it does not follow"):
        follower(story, begun(story)).take(blocks[1])


def test_a_trusted_set_must_be_met() -> None:
    story, blocks = decided()
    database = begun(story)
    own = story.genesis.first_set().hash
    assert follower(story, database, Trust(0, own)).untrusted() is None
    strange = follower(story, database, Trust(0, bytes(32)))
    assert "are not those that you trust" in str(strange.untrusted())
    later = follower(story, database, Trust(3, own))
    later.take(blocks[0])
    assert "before the trusted epoch 3" in str(later.untrusted())


def test_survivors_are_followed_by_whoever_pins_them_and_by_nobody_else() -> None:
    story, survivors, recovery = recovered()
    blocks = list(chain_of(survivors[0]))
    end = recovery.height
    trust = Trust(1, recovery.link.members.hash)
    database = begun(story)
    following = follower(story, database, trust)
    for block in blocks[: end - 1]:
        database.write(following.take(block))
    last = blocks[end - 1]
    writes = following.take(last, handed_over=last.state is None)
    forged = structs.replace(recovery.link.certificate, endorsements=())
    with pytest.raises(NotTheChainError, match="not all survivors have signed"):
        following.hand_over(EpochLink(forged, recovery.link.members))
    database.write((*writes, *following.hand_over(recovery.link)))
    again = follower(story, database, trust)
    assert again.stored_root() == again.ledger.state_root
    for block in blocks[end:]:
        if block.state is not None:
            database.write(again.take(block))
    assert again.height > end
    assert again.validators == recovery.link.members
    assert again.untrusted() is None
    unpinned = follower(story, begun(story))
    for block in blocks[:end]:
        unpinned.take(block, handed_over=block.state is None)
    with pytest.raises(NotTheChainError, match=f"--trust 1:{trust.hash.hex()}"):
        unpinned.hand_over(recovery.link)
