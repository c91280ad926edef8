"""Survivors of a lost quorum go on in a new epoch, and whoever follows them says so."""

from __future__ import annotations

from functools import reduce

import pytest
from msgspec import structs

from consensus.certificates import StateCertificate
from consensus.chain import ChainReader
from consensus.ledger.machine import Ledger
from consensus.proving import transaction_receipt
from consensus.receipts import EpochLink
from consensus.recovery import Recovery, RecoveryError, propose, record, same_hand_over, signed
from consensus.replay import replay
from consensus.verify import Trust, recovery_fault, verify_receipt
from gossip.effects import Write
from gossip.identity import Ed25519Signer
from tests.consensus.story import Actor, Story


def at_an_end(size: int = 4, left: int = 2) -> tuple[Story, list[Actor]]:
    """A federation that has decided three blocks, of which only the first few are left; all daemons are stopped."""
    story = Story()
    for command in (
        f"nodes{' 1' * size}",
        "submit 0",
        "wait 600",
        "submit 1",
        "wait 600",
        "submit 0",
    ):
        story.play(command)
    story.play("wait 600")
    for number in range(left, size):
        story.play(f"crash {number}")
    story.play("submit 1")
    story.play("wait 5000")
    survivors = story.actors[:left]
    assert [actor.engine.height for actor in survivors if actor.engine is not None] == [3] * left
    for actor in survivors:
        story.play(f"crash {actor.number}")
    return story, survivors


def proposed(story: Story, actor: Actor, *lost: int) -> tuple[Recovery, tuple[Write, ...]]:
    ledger = Ledger.load(story.genesis, actor.chain, story.keys.verifier)
    nodes = [story.actors[number].node_id for number in lost]
    found = propose(ledger, ChainReader(actor.chain), nodes)
    ledger.check_invariants()
    return found


def complete(story: Story, recovery: Recovery, survivors: list[Actor]) -> Recovery:
    keys = [story.keys.signer(b"voting", actor.number) for actor in survivors]
    return reduce(signed, keys, recovery)


def recovered() -> tuple[Story, list[Actor], Recovery]:
    """Two of four have gone on, and decided a block more."""
    story, survivors = at_an_end()
    made = [proposed(story, actor, 2, 3) for actor in survivors]
    assert made[0] == made[1]
    recovery = complete(story, made[0][0], survivors)
    for actor, (_, writes) in zip(survivors, made, strict=True):
        actor.chain.write((*writes, record(recovery)))
    for command in ("restart 0", "restart 1", "wait 3000", "submit 0", "wait 3000"):
        story.play(command)
    return story, survivors, recovery


def test_survivors_decide_and_certify_again() -> None:
    _, survivors, recovery = recovered()
    for actor in survivors:
        engine = actor.engine
        assert engine is not None
        assert engine.height >= 4
        assert engine.certified == engine.height
        assert engine.validators == recovery.link.members
        assert [seat.power for seat in engine.validators.validators] == [1, 1]
        engine.ledger.check_invariants()


def test_receipts_of_a_recovered_federation_hold_for_those_who_pin_its_set() -> None:
    story, survivors, recovery = recovered()
    chain = ChainReader(survivors[0].chain)
    old, new = chain.block(2), chain.block(4)
    assert old is not None
    assert new is not None
    before = transaction_receipt(chain, old.transactions[0].id)
    after = transaction_receipt(chain, new.transactions[0].id)
    assert before is not None
    assert after is not None
    verifier, members = story.keys.verifier, recovery.link.members
    assert verify_receipt(before, story.genesis, verifier).valid
    unpinned = verify_receipt(after, story.genesis, verifier)
    assert not unpinned.valid
    assert "survivors" in unpinned.reason
    assert f"--trust 1:{members.hash.hex()}" in unpinned.reason
    assert verify_receipt(after, story.genesis, verifier, Trust(1, members.hash)).valid
    assert not verify_receipt(after, story.genesis, verifier, Trust(1, bytes(32))).valid
    early = Trust(0, story.genesis.first_set().hash)
    assert not verify_receipt(after, story.genesis, verifier, early).valid


def test_a_recovered_chain_replays() -> None:
    story, survivors, _ = recovered()
    verifier = story.keys.verifier
    faults = [one.fault for one in replay(story.genesis, survivors[1].chain, verifier, 99)]
    assert faults
    assert set(faults) == {None}


def test_a_hand_over_holds_only_with_all_its_survivors_and_nothing_changed() -> None:
    story, survivors = at_an_end()
    recovery, _ = proposed(story, survivors[0], 2, 3)
    voters, chain = story.genesis.first_set(), story.genesis.federation_id
    verifier = story.keys.verifier
    whole = complete(story, recovery, survivors)
    assert recovery_fault(whole.link, voters, chain, verifier) is None
    part = complete(story, recovery, survivors[:1])
    assert part.missing == (survivors[1].node_id,)
    assert recovery_fault(part.link, voters, chain, verifier) is not None
    certificate = whole.link.certificate
    for changes in ({"height": 9}, {"state_root": bytes(32)}, {"epoch": 1}):
        statement = structs.replace(certificate.statement, **changes)
        forged = EpochLink(
            StateCertificate(statement, certificate.endorsements), whole.link.members
        )
        assert recovery_fault(forged, voters, chain, verifier) is not None
    with pytest.raises(RecoveryError, match="no seat among the survivors"):
        signed(recovery, Ed25519Signer(bytes(32)))


def test_nothing_is_recovered_while_a_quorum_is_left_or_without_a_block() -> None:
    story, survivors = at_an_end()
    with pytest.raises(RecoveryError, match="which is a quorum"):
        proposed(story, survivors[0], 3)
    with pytest.raises(RecoveryError, match="somebody must be left"):
        proposed(story, survivors[0])
    fresh = Story()
    fresh.play("nodes 1 1 1 1")
    with pytest.raises(RecoveryError, match="no block"):
        proposed(fresh, fresh.actors[0], 2, 3)


def test_survivors_at_different_heights_do_not_sign_the_same() -> None:
    story, survivors = at_an_end()
    mine, _ = proposed(story, survivors[0], 2, 3)
    statement = structs.replace(mine.link.certificate.statement, height=2)
    theirs = structs.replace(
        mine, link=EpochLink(StateCertificate(statement, ()), mine.link.members)
    )
    assert "height 2, this node is at height 3" in (same_hand_over(mine, theirs) or "")
    assert same_hand_over(mine, structs.replace(mine, lost=mine.lost[:1])) is not None
    assert same_hand_over(mine, mine) is None
