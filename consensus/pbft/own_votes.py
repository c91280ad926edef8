"""When a node must not vote, though it has a voting key: the key's votes may have been cast elsewhere.

A replica's own log keeps it from voting twice as long as there is one log. A restored backup, or a second machine with
a copy of the key, has another. So at every start a validator first asks the others for the newest votes under its key,
and votes when enough of them have answered that, with itself, they are a quorum; and whenever a vote by its key appears
that its log lacks, alone or in the certificate of a block decided since, it becomes an observer until the key is
rotated.

Why a quorum. Suppose the key voted where the log does not say so, and the vote counted: it is in a quorum `Q`. The
answerers and the asker are a quorum `A`. `Q` and `A` share more than a third of the power, so besides the asker, whose
lost memory makes it one of the faulty, an honest replica that counted the vote, and says so unless it has restarted
since. What remains: votes that nobody who answers has seen or remembers, because all of them restarted, or because the
other machine votes between the answers and this node's own votes; the second of the two is then seen alive.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from consensus.certificates import Ballot, Certificate, is_endorsed
from consensus.faults import KNOWN, UNASKED, Fault, forged
from consensus.messages import AskVotes, NewestVotes, ViewChange, Vote
from consensus.pbft.vote_log import BallotRecord, ViewRecord
from consensus.quorum import ValidatorSet
from gossip.codec import Digest
from gossip.effects import Broadcast, Cause, Effect, KeyValueReader, Notify, Persist, Store
from gossip.identity import NodeId, PublicKey, Signature, Signer, Verifier

NO_KEY = PublicKey(bytes(32))
"""Nobody's: the neutral point, which no signature verifies under."""

OUTSIDER = Fault(Cause.NOT_ENTITLED, "only validators are asked for the newest votes of a key")

_SILENCED = b"silenced/"


@dataclass(frozen=True, slots=True)
class VotesElsewhere:
    """A vote by this node's key came from outside that its log lacks: a copy of the key or of the home voted."""

    key: bytes
    sentence: str


@dataclass(frozen=True, slots=True)
class VotesAgain:
    """Enough others have answered: from now on this node votes."""

    key: bytes


class VotingKeys:
    """A node's voting keys as one signer: the one that has a seat signs, and none while the node must not vote.

    After a rotation the node holds several; the set of the epoch says which one counts.
    """

    def __init__(self, *keys: Signer) -> None:
        assert keys
        self._keys = list(keys)
        self._present = keys[0]
        self._silenced: set[bytes] = set()
        self._is_waiting = False
        self.present = keys[0].public
        """The key that has the seat, or would have, whether or not it may vote."""
        self.public = keys[0].public
        """The key that signs now; one that nobody holds while the node must not vote. Asked several times a message."""

    def _look(self) -> None:
        self.public = NO_KEY if self.is_muted else self._present.public

    def sign(self, message: bytes) -> Signature:
        """Sign with the present key; only asked of one that may vote."""
        assert not self.is_muted, "a node that must not vote was asked to sign"
        return self._present.sign(message)

    @property
    def is_muted(self) -> bool:
        """Whether the node must not vote."""
        return self._is_waiting or self._present.public in self._silenced

    @property
    def is_waiting(self) -> bool:
        """Whether the others' answers are still awaited."""
        return self._is_waiting

    def wait(self) -> None:
        """Do not vote until enough others have answered."""
        self._is_waiting = True
        self._look()

    def go_on(self) -> None:
        """The answers are here."""
        self._is_waiting = False
        self._look()

    @property
    def is_silenced(self) -> bool:
        """Whether the present key must never vote here again."""
        return self._present.public in self._silenced

    @property
    def candidate(self) -> Signer:
        """The present key for what can't contradict: STATE votes, and proofs that this node holds it."""
        return self._present

    def add(self, key: Signer) -> None:
        """Hold one more key; it counts once a set names it."""
        if all(one.public != key.public for one in self._keys):
            self._keys.append(key)

    def forget(self, former: Collection[bytes]) -> None:
        """Hold these no longer: what they decided is certified. The present key stays."""
        self._keys = [one for one in self._keys if one is self._present or one.public not in former]

    def choose(self, members: ValidatorSet) -> None:
        """A set votes from now on: sign with the key that sits in it, if one does."""
        for key in self._keys:
            if members.member(key.public) is not None:
                self._present, self.present = key, key.public
                self._look()
                return

    def seated(self, members: ValidatorSet) -> Signer | None:
        """The key of this node that sits in a set of today or of before, unless it must never sign again."""
        for key in self._keys:
            if members.member(key.public) is not None and key.public not in self._silenced:
                return key
        return None

    def silence(self, key: bytes) -> None:
        """Never sign with a key again: it votes elsewhere, or its log is damaged."""
        self._silenced.add(key)
        self._look()


class StateKeys:
    """The same keys for STATE votes, which may be signed while answers are awaited.

    They say what executing committed blocks came to, the same whoever executes them: twice is no contradiction. So a
    key that was rotated away still signs what the blocks of its own epochs came to, if that is not certified yet.
    """

    def __init__(self, keys: VotingKeys) -> None:
        self._keys = keys

    def of(self, members: ValidatorSet) -> Signer | None:
        """The key that signs for blocks that this set decided, if one sits in it."""
        return self._keys.seated(members)


class OwnVotes:
    """The question at the start, and the watch over live votes."""

    def __init__(self, keys: VotingKeys, chain: Digest, verifier: Verifier) -> None:
        self._keys, self._chain, self._verifier = keys, chain, verifier
        self._answered: set[NodeId] = set()
        self._former_height = 0
        """Up to here blocks may hold votes that the log lacks: they were decided before this node was to vote again."""

    def begin(self, members: ValidatorSet) -> list[Effect]:
        """At the start: ask, and do not vote until enough have answered."""
        seat = members.member(self._keys.present)
        if seat is None or self._keys.is_silenced or members.is_quorum(seat.power):
            return []
        self._keys.wait()
        return self.ask_again(members)

    def ask_again(self, members: ValidatorSet) -> list[Effect]:
        """Ask those who have not answered yet; on the beat, and when a peer appears."""
        if not self._keys.is_waiting:
            return []
        missing = tuple(
            NodeId(seat.node)
            for seat in members.validators
            if seat.voting_key != self._keys.present and seat.node not in self._answered
        )
        return [Broadcast(missing, AskVotes(self._keys.present))] if missing else []

    def on_answer(
        self,
        peer: NodeId,
        answer: NewestVotes,
        members: ValidatorSet,
        known: BallotRecord | None,
        promised: ViewRecord | None,
    ) -> list[Effect]:
        """Somebody says what it has seen of this node's key."""
        if answer.voting_key != self._keys.present:
            return [UNASKED.of(peer)]
        fault = self._answer_fault(answer) if self._keys.is_waiting else None
        if fault is not None:
            return [fault.of(peer)]
        for vote in answer.votes:
            out = self.on_live_vote(vote, known)
            if out:
                return out
        if answer.change is not None and self._is_foreign_promise(answer.change, promised):
            return self._stop("it promised another view than this node's log says")
        if not self._keys.is_waiting:
            return [UNASKED.of(peer)]
        if peer not in members.nodes:
            return [OUTSIDER.of(peer)]
        if peer in self._answered:
            return [KNOWN.of(peer)]
        self._answered.add(peer)
        heard = sum(seat.power for seat in members.validators if seat.node in self._answered)
        seat = members.member(self._keys.present)
        if seat is None or members.is_quorum(heard + seat.power):
            self._keys.go_on()
            return [Notify(VotesAgain(self._keys.present))]
        return []

    def _answer_fault(self, answer: NewestVotes) -> Fault | None:
        """Why an answer is none; a peer that gives such a one has not answered."""
        key = self._keys.present
        signed = [
            (
                one.endorsement.voter,
                one.ballot.signing_bytes(self._chain),
                one.endorsement.signature,
            )
            for one in answer.votes
        ]
        change = answer.change
        if change is not None:
            signed.append((change.voter, change.signing_bytes(self._chain), change.signature))
        if any(voter != key for voter, _, _ in signed):
            return Fault(Cause.MALFORMED, "the newest votes of a key: one is of another")
        if not all(self._verifier.verify(*one) for one in signed):
            return forged("newest votes")
        return None

    def on_live_vote(self, vote: Vote, known: BallotRecord | None) -> list[Effect]:
        """A vote by this node's own key came from outside."""
        ballot, key = vote.ballot, self._keys.present
        if vote.endorsement.voter != key or self._keys.is_silenced or not lacks(known, ballot):
            return []
        if not is_endorsed(vote.endorsement, ballot, self._chain, self._verifier):
            return []
        return self._stop(
            f"it voted at height {ballot.height} in view {ballot.view}, which this node's log lacks"
        )

    def excuse(self, known_height: int) -> None:
        """Enough have answered, and peers say that they have blocks up to here."""
        self._former_height = known_height

    def on_decided(self, certificate: Certificate, known: BallotRecord | None) -> list[Effect]:
        """A block was decided, and this node executes it: its key may have had a part in that elsewhere."""
        ballot, key = certificate.ballot, self._keys.present
        if ballot.height <= self._former_height or self._keys.is_muted or not lacks(known, ballot):
            return []
        if all(one.voter != key for one in certificate.endorsements):
            return []
        return self._stop(
            f"it had a part in deciding block {ballot.height}, which this node's log lacks"
        )

    def _is_foreign_promise(self, change: ViewChange, promised: ViewRecord | None) -> bool:
        if change.voter != self._keys.present:
            return False
        own = (-1, -1) if promised is None else (promised.epoch, promised.view)
        if (change.epoch, change.view) <= own:
            return False
        return self._verifier.verify(
            change.voter, change.signing_bytes(self._chain), change.signature
        )

    def _stop(self, sentence: str) -> list[Effect]:
        key = self._keys.present
        self._keys.silence(key)
        self._keys.go_on()
        return [
            Persist(Store.VOTES, ((_SILENCED + key, sentence.encode()),)),
            Notify(VotesElsewhere(key, sentence)),
        ]


def silenced_keys(votes: KeyValueReader) -> dict[bytes, str]:
    """The keys that must never vote from this home again, and why."""
    return {
        key[len(_SILENCED) :]: value.decode("utf-8", "replace")
        for key, value in votes.scan(_SILENCED)
    }


def lacks(known: BallotRecord | None, ballot: Ballot) -> bool:
    """Whether a vote is newer than, or other than, what the log says was cast last."""
    if known is None:
        return True
    place, last = (
        (ballot.epoch, ballot.height, ballot.view),
        (known.epoch, known.height, known.view),
    )
    if place != last:
        return place > last
    cast = known.prepare if ballot.phase.name == "PREPARE" else known.commit
    return cast != ballot.digest
