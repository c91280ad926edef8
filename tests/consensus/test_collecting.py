"""Votes by way of collectors: who they are, what they hand out, and what a lying one costs."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.certificates import Ballot, Certificate, Endorsement, Phase
from consensus.engine import Received
from consensus.messages import CollectedVotes, ConsensusMessage, Vote
from consensus.pbft.collected import collected_votes, packed, unpacked, vote_in
from consensus.pbft.collection import FEW, Patience, collectors, few_of
from consensus.quorum import Validator, ValidatorSet
from gossip.codec import decode, digest, encode
from gossip.effects import Cause, Rejected, Send
from gossip.identity import NodeId, PublicKey, Signature
from simulations.worlds.signatures import KeyedHash
from tests.consensus.story import Story


def a_set(seats: int) -> ValidatorSet:
    """Seats whose keys are in no order."""
    return ValidatorSet(
        0,
        tuple(
            Validator(NodeId(digest(b"node", b"%d" % at)), PublicKey(digest(b"key", b"%d" % at)), 1)
            for at in range(seats)
        ),
    )


def certificate(members: ValidatorSet, seats: set[int]) -> Certificate:
    """Signed by nobody, in the order of certificates."""
    ballot = Ballot(Phase.PREPARE, 0, 1, 2, bytes(32))
    voters = sorted(members.validators[at].voting_key for at in seats)
    return Certificate(ballot, tuple(Endorsement(one, Signature(one + one)) for one in voters))


@given(st.integers(1, 80), st.sets(st.integers(0, 79)))
def test_what_is_handed_out_is_the_certificate(seats: int, chosen: set[int]) -> None:
    members = a_set(seats)
    whole = certificate(members, {at for at in chosen if at < seats})
    message = collected_votes(whole, members)
    again: object = decode(encode(message), ConsensusMessage)  # type: ignore[arg-type]
    assert again == message
    assert unpacked(message.voters, message.signatures, members) == whole.endorsements
    for seat in members.validators:
        own = next((one for one in whole.endorsements if one.voter == seat.voting_key), None)
        assert vote_in(message, seat.voting_key, members) == (
            None if own is None else Vote(whole.ballot, own)
        )


@given(st.integers(1, 80), st.binary(max_size=63), st.binary(max_size=300))
def test_bits_and_signatures_that_do_not_match_are_no_certificate(
    seats: int, voters: bytes, signatures: bytes
) -> None:
    members = a_set(seats)
    found = unpacked(voters, signatures, members)
    if found is not None:
        bits, rest = packed(found, members)
        assert rest == signatures
        assert int.from_bytes(bits, "little") == int.from_bytes(voters, "little")


@given(st.integers(2, 60), st.integers(0, 200), st.integers(0, 200))
def test_the_leader_collects_and_one_other_who_changes(seats: int, view: int, height: int) -> None:
    members = a_set(seats)
    first, second = collectors(members, view, height)
    assert first == members.leader(view, height)
    assert first != second
    term = [collectors(members, view, at)[1] for at in range(height, height + seats)]
    assert len(set(term)) > 1 or seats <= 3


def test_with_one_turn_after_the_other_all_peers_are_told() -> None:
    nodes = tuple(NodeId(bytes([at]) * 32) for at in range(30))
    heard = Counter(node for turn in range(4) for node in few_of(nodes, turn))
    assert set(heard) == set(nodes)
    assert all(len(few_of(nodes, turn)) == FEW for turn in range(40))


def collected(story: Story) -> Counter[str]:
    """What is sent for one block, by kind."""
    sent: Counter[str] = Counter()
    while story.letters:
        letter = story.letters[0]
        sent[letter.kind] += 1
        story.hand_over(lambda one, chosen=letter: one is chosen)  # type: ignore[misc]
    return sent


@pytest.mark.parametrize(("least", "votes"), [(8, 7), (9, 56)])
def test_a_block_costs_as_many_votes_as_there_are_seats_and_without_collectors_their_square(
    least: int, votes: int
) -> None:
    story = Story()
    for command in (f"collect {least}", "nodes" + 8 * " 1", "deliver", "submit 1"):
        story.play(command)
    sent = collected(story)
    assert (sent["proposal"], sent["prepare"], sent["commit"]) == (7, votes, votes)
    assert sent["collectedvotes"] == (14 if least == 8 else 0)
    assert {actor.engine.height for actor in story.actors if actor.engine} == {1}


def prepared_by_leader() -> tuple[Story, CollectedVotes]:
    """Seven validators, PREPAREs collected, nothing of them delivered yet."""
    story = Story()
    for command in ("collect 4", "nodes 1 1 1 1 1 1 1", "deliver", "submit 1"):
        story.play(command)
    for kind in ("transactions", "proposal", "prepare"):
        story.play(f"only {kind}")
    message = next(one.message for one in story.letters if isinstance(one.message, CollectedVotes))
    assert isinstance(message, CollectedVotes)
    return story, message


def test_a_liar_has_one_bad_certificate_looked_at_for_each_height() -> None:
    story, message = prepared_by_leader()
    broken = msgspec.structs.replace(message, signatures=message.signatures[:-64] + bytes(64))
    checks = 0
    sound = KeyedHash.verify

    def counted(self: KeyedHash, public: bytes, message: bytes, signature: bytes) -> bool:
        nonlocal checks
        checks += 1
        return sound(self, public, message, signature)

    engine = story.actors[3].engine
    assert engine is not None
    causes: Counter[Cause] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeyedHash, "verify", counted)
        for _ in range(20):
            effects = engine.handle(story.now_ms, Received(story.actors[5].node_id, broken))
            causes.update(one.cause for one in effects if isinstance(one, Rejected))
    assert checks == 5
    assert causes == {Cause.UNSOUND: 1, Cause.TOO_OFTEN: 19}
    effects = engine.handle(story.now_ms, Received(story.actors[0].node_id, message))
    assert not any(isinstance(one, Rejected) for one in effects)
    assert engine.replica.status(0).is_prepared


def test_only_validators_hand_certificates_out() -> None:
    story, message = prepared_by_leader()
    engine = story.actors[3].engine
    assert engine is not None
    effects = engine.handle(story.now_ms, Received(NodeId(bytes(32)), message))
    assert [one.cause for one in effects if isinstance(one, Rejected)] == [Cause.NOT_ENTITLED]


def test_the_second_collector_repeats_a_certificate_to_whoever_asks_it_once_a_height() -> None:
    story, _ = prepared_by_leader()
    place = collectors(story.genesis.first_set(), 0, 1)[1].node
    second = next(one for one in story.actors if one.node_id == place)
    asker = next(one for one in story.actors if one.number not in (0, second.number))
    for letter in list(story.letters):
        if letter.target == asker.number:
            story.letters.remove(letter)
    story.play("only collectedvotes")
    assert asker.engine is not None
    assert second.engine is not None
    (vote,) = asker.engine.replica.seen_of(story.keys.signer(b"voting", asker.number).public)[0]
    answers = [
        one
        for _ in range(5)
        for one in second.engine.handle(story.now_ms, Received(asker.node_id, vote))
        if isinstance(one, Send)
    ]
    assert [(one.to, type(one.message)) for one in answers] == [(asker.node_id, CollectedVotes)]


def test_a_vote_by_the_own_key_that_was_collected_elsewhere_ends_voting() -> None:
    story, message = prepared_by_leader()
    engine = story.actors[3].engine
    assert engine is not None
    key = story.keys.signer(b"voting", 3).public
    own = vote_in(message, key, story.genesis.first_set())
    if own is None:
        (own,) = engine.replica.seen_of(key)[0]
    other = msgspec.structs.replace(message.ballot, view=9, digest=bytes(32))
    signer = story.keys.signer(b"voting", 3)
    signature = signer.sign(other.signing_bytes(story.genesis.federation_id))
    lie = Certificate(other, (Endorsement(key, signature),))
    engine.handle(
        story.now_ms,
        Received(story.actors[0].node_id, collected_votes(lie, story.genesis.first_set())),
    )
    assert engine.keys.is_silenced


@given(st.lists(st.integers(0, 2_000), min_size=1, max_size=30))
def test_collectors_are_waited_for_twice_as_long_as_they_need_within_bounds(
    waits: list[int],
) -> None:
    patience = Patience(100)
    for height, wait_ms in enumerate(waits):
        patience.begin(1_000 * height, Phase.PREPARE, 0, height)
        patience.end(1_000 * height + wait_ms, Phase.PREPARE, 0, height)
        assert patience.wait_ms(500) == max(100, min(500, patience.wait_ms(10**9)))
        assert patience.wait_ms(10**9) >= 2 * wait_ms
    for height in range(100, 200):
        patience.begin(0, Phase.COMMIT, 0, height)
        patience.end(0, Phase.COMMIT, 0, height)
    assert patience.wait_ms(10**9) == 100, "what was slow once is forgotten"


def test_a_certificate_that_answers_no_vote_teaches_no_patience() -> None:
    patience = Patience(100)
    patience.end(10**6, Phase.PREPARE, 0, 1)
    for height in range(1_000):
        patience.begin(0, Phase.PREPARE, 0, height)
    patience.end(10**6, Phase.PREPARE, 0, 1)
    assert patience.wait_ms(10**9) == 100
