"""What keeps a key from voting where its log does not say so."""

from __future__ import annotations

from consensus.certificates import Ballot, Phase, endorse
from consensus.evidence import evidence_of
from consensus.faults import KNOWN, UNASKED
from consensus.messages import AskVotes, NewestVotes, ViewChange, Vote, view_change_bytes
from consensus.pbft.own_votes import (
    NO_KEY,
    OUTSIDER,
    OwnVotes,
    StateKeys,
    VotesAgain,
    VotesElsewhere,
    VotingKeys,
    silenced_keys,
)
from consensus.pbft.reports import Equivocation
from consensus.pbft.vote_log import BallotRecord
from consensus.quorum import Validator, ValidatorSet
from gossip.codec import Digest
from gossip.effects import Broadcast, Effect, Notify, Persist
from gossip.identity import NodeId
from tests.consensus.world import HashSigner, HashVerifier, MemoryReader

CHAIN = Digest(b"\x09" * 32)
ONE, TWO = b"\x01" * 32, b"\x02" * 32
KEYS = [HashSigner(f"voting key {at}") for at in range(4)]
NODES = [NodeId(b"n%031d" % at) for at in range(4)]
FRESH = HashSigner("fresh")


def members(*powers: int) -> ValidatorSet:
    return ValidatorSet(
        0,
        tuple(Validator(NODES[at], KEYS[at].public, power) for at, power in enumerate(powers)),
    )


EQUAL = members(1, 1, 1, 1)


def vote(key: HashSigner = KEYS[0], digest: bytes = ONE, height: int = 5, view: int = 0) -> Vote:
    ballot = Ballot(Phase.PREPARE, 0, view, height, digest)
    return Vote(ballot, endorse(key, CHAIN, ballot))


def begun(present: ValidatorSet = EQUAL) -> tuple[VotingKeys, OwnVotes, list[Effect]]:
    keys = VotingKeys(KEYS[0])
    own = OwnVotes(keys, CHAIN, HashVerifier())
    return keys, own, own.begin(present)


def empty() -> NewestVotes:
    return NewestVotes(KEYS[0].public, (), None)


def told(out: list[Effect]) -> list[type]:
    return [type(one.what) for one in out if isinstance(one, Notify)]


def test_a_validator_votes_once_answers_and_itself_are_a_quorum() -> None:
    keys, own, out = begun()
    assert out == [Broadcast(tuple(NODES[1:]), AskVotes(KEYS[0].public))]
    assert keys.public == NO_KEY
    assert StateKeys(keys).of(EQUAL) is KEYS[0], "a STATE vote can't contradict"
    assert own.on_answer(NODES[1], empty(), EQUAL, None, None) == []
    again = own.on_answer(NODES[1], empty(), EQUAL, None, None)
    assert again == [KNOWN.of(NODES[1])], "one answer counts once"
    stranger = NodeId(b"x" * 32)
    assert own.on_answer(stranger, empty(), EQUAL, None, None) == [OUTSIDER.of(stranger)]
    assert own.ask_again(EQUAL) == [Broadcast(tuple(NODES[2:]), AskVotes(KEYS[0].public))]
    assert told(own.on_answer(NODES[2], empty(), EQUAL, None, None)) == [VotesAgain]
    assert keys.public == KEYS[0].public
    assert own.ask_again(EQUAL) == []


def test_a_key_that_was_rotated_away_signs_the_outcomes_of_its_own_epochs_and_no_votes() -> None:
    keys = VotingKeys(FRESH, KEYS[0])
    seats = tuple(
        Validator(NODES[at], FRESH.public if at == 0 else KEYS[at].public, 1) for at in range(4)
    )
    now = ValidatorSet(1, seats)
    keys.choose(now)
    assert keys.public == FRESH.public
    assert StateKeys(keys).of(now) is FRESH
    assert StateKeys(keys).of(EQUAL) is KEYS[0]
    assert StateKeys(VotingKeys(FRESH)).of(EQUAL) is None
    keys.silence(KEYS[0].public)
    assert StateKeys(keys).of(EQUAL) is None


def test_of_several_keys_that_were_rotated_away_each_signs_for_its_own_epochs() -> None:
    turns = [KEYS[0], HashSigner("second"), HashSigner("third"), FRESH]
    sets = [
        ValidatorSet(
            epoch,
            tuple(
                Validator(NODES[at], key.public if at == 0 else KEYS[at].public, 1)
                for at in range(4)
            ),
        )
        for epoch, key in enumerate(turns)
    ]
    keys = VotingKeys(FRESH, *turns[:-1])
    keys.choose(sets[-1])
    assert [StateKeys(keys).of(one) for one in sets] == turns
    keys.forget([one.public for one in turns])
    assert [StateKeys(keys).of(one) for one in sets] == [None, None, None, FRESH]
    assert keys.public == FRESH.public


def test_who_is_a_quorum_alone_or_has_no_seat_asks_nobody() -> None:
    for present in (members(1), members(3, 1), members(5, 1, 1)):
        keys, _, out = begun(present)
        assert out == []
        assert keys.public == KEYS[0].public
    observer = VotingKeys(FRESH)
    assert OwnVotes(observer, CHAIN, HashVerifier()).begin(EQUAL) == []


def test_a_vote_that_the_log_lacks_silences_the_key_for_good() -> None:
    known = BallotRecord(0, 0, 5, TWO, None)
    for foreign in (vote(), vote(height=6), vote(view=1), vote(digest=ONE, height=5)):
        keys, own, _ = begun()
        out = own.on_answer(
            NODES[1], NewestVotes(KEYS[0].public, (foreign,), None), EQUAL, known, None
        )
        assert told(out) == [VotesElsewhere]
        assert keys.is_silenced
        assert StateKeys(keys).of(EQUAL) is None
        stored = MemoryReader(
            tuple(w for one in out if isinstance(one, Persist) for w in one.writes)
        )
        assert set(silenced_keys(stored)) == {KEYS[0].public}
        late = own.on_answer(NODES[2], empty(), EQUAL, known, None)
        assert late == [UNASKED.of(NODES[2])]
        assert keys.public == NO_KEY


def test_own_and_older_votes_and_forgeries_silence_nobody() -> None:
    known = BallotRecord(0, 1, 5, ONE, None)
    forged = Vote(vote(height=9).ballot, endorse(KEYS[1], CHAIN, vote(height=9).ballot))
    lie = Vote(
        forged.ballot, type(forged.endorsement)(KEYS[0].public, forged.endorsement.signature)
    )
    for harmless in (vote(view=1), vote(view=0, digest=TWO), vote(height=4), vote(KEYS[1]), lie):
        keys, own, _ = begun()
        assert own.on_live_vote(harmless, known) == []
        assert not keys.is_silenced


def test_a_promise_that_the_log_lacks_silences_the_key() -> None:
    signature = KEYS[0].sign(view_change_bytes(CHAIN, 0, 3, None, None))
    change = ViewChange(0, 3, None, None, KEYS[0].public, signature)
    keys, own, _ = begun()
    answer = NewestVotes(KEYS[0].public, (), change)
    assert told(own.on_answer(NODES[1], answer, EQUAL, None, None)) == [VotesElsewhere]
    assert keys.is_silenced


def test_the_key_with_a_seat_signs_and_a_fresh_one_is_free_of_the_old_ones_silence() -> None:
    keys = VotingKeys(KEYS[0], FRESH)
    keys.choose(EQUAL)
    assert keys.public == KEYS[0].public
    keys.silence(KEYS[0].public)
    assert keys.is_muted
    keys.choose(ValidatorSet(1, (Validator(NODES[0], FRESH.public, 1),)))
    assert keys.public == FRESH.public
    assert not keys.is_muted


def test_evidence_is_made_of_two_answers_to_one_question_only() -> None:
    first, second = vote(digest=TWO), vote(digest=ONE)
    made = evidence_of(Equivocation(KEYS[0].public, first, second))
    assert made is not None
    assert made.holds(CHAIN, HashVerifier())
    assert made.first.digest < made.second.digest
    assert not made.holds(Digest(b"\x08" * 32), HashVerifier()), "another federation"
    for other in (vote(digest=TWO), vote(height=6), vote(view=1)):
        assert evidence_of(Equivocation(KEYS[0].public, first, other)) is None
