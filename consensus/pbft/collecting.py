"""Large sets: votes go to a collector, which hands all of them out again as one certificate.

All to all, a phase costs n^2 messages; through a collector 2n. A certificate is transferable, so whoever is handed one
checks it and is where it would be had it gathered the votes itself: nothing of the argument for safety depends on how
a quorum of signatures came together, and a replica trusts its collector with nothing but time.

The first collector of a height in a view is the leader: a view with a faulty leader goes on only by luck anyway, and so
a block of an honest leader waits for nobody else. The second is another seat, a different one for each height. A vote
that no certificate has answered after a while goes to the second as well, and after as long again to everybody. That
is all to all, so a height needs no collector to be decided.

Which sets are large is the same for all by convention only. Replicas that differ in it, or in their patience, cost each
other time and nothing else.
"""

from __future__ import annotations

from consensus.certificates import Ballot, Certificate, Phase, certificate_fault
from consensus.faults import Fault, unsound
from consensus.messages import CollectedVotes, Vote
from consensus.pbft.collected import collected_votes, unpacked
from consensus.pbft.collection import TO_ALL, TWICE_BAD, UNMATCHED, UNSEATED, collectors, few_of
from consensus.pbft.replica_base import ReplicaBase
from consensus.quorum import Validator
from gossip.effects import Broadcast, Send, SetTimer
from gossip.identity import NodeId

COLLECT_TIMER = "collect"


class Collecting(ReplicaBase):
    """How votes travel: to everybody, or by way of collectors."""

    __slots__ = ()

    def gatherers(self, ballot: Ballot) -> tuple[Validator, ...]:
        """Who collects the STATE votes over the block that these COMMITs have decided; nobody in a small set."""
        if not self.is_large:
            return ()
        return collectors(self._members, ballot.view, ballot.height)

    def hearers(self, peers: tuple[NodeId, ...], beat: int) -> tuple[NodeId, ...]:
        """Who is told where this replica stands: in a large set a few at a time, unless votes go to all as well."""
        if not self.is_large or self._slot.collection.stage >= TO_ALL:
            return peers
        return few_of(peers, beat + int.from_bytes(self._signer.public[:4], "big"))

    def _spread(self, vote: Vote) -> None:
        """Send an own vote on its way, to be answered by a certificate or by all others' votes."""
        if not self.is_large:
            self._cast_to_all(vote)
            return
        chosen = self._collectors()
        if self._slot.collection.stage == 0 and chosen[0].voting_key in self._doubted:
            self._slot.collection.stage = 1
        self._send_vote(vote, chosen)
        ballot = vote.ballot
        self._patience.begin(self._now_ms, ballot.phase, ballot.view, ballot.height)
        self._set_collect_timer()

    def _set_collect_timer(self) -> None:
        if self._slot.collection.stage < TO_ALL:
            wait_ms = self._patience.wait_ms(self._timeout_ms() // 4)
            self._out.append(SetTimer(COLLECT_TIMER, wait_ms))

    def _note_wait(self, peer: NodeId, ballot: Ballot) -> None:
        """The first collector has answered a vote, perhaps when it was no longer waited for."""
        if ballot.epoch == self._members.epoch:
            leader = self._members.leader(ballot.view, ballot.height)
            if leader.node == peer:
                self._patience.end(self._now_ms, ballot.phase, ballot.view, ballot.height)
                self._doubted.discard(leader.voting_key)

    def _send_vote(self, vote: Vote, chosen: tuple[Validator, ...]) -> None:
        if self._slot.collection.stage >= TO_ALL:
            self._cast_to_all(vote)
            return
        keys = tuple(one.voting_key for one in chosen[: self._slot.collection.stage + 1])
        to = self._nodes_of(keys)
        if to:
            self._out.append(Broadcast(to, vote))

    def _collectors(self) -> tuple[Validator, ...]:
        return collectors(self._members, self._view, self._slot.height)

    def _fall_back(self) -> None:
        """No certificate has come for an own vote: send it to one collector more, then to everybody."""
        outstanding, collection = self._outstanding(), self._slot.collection
        if not self.is_large or not outstanding or collection.stage >= TO_ALL:
            return
        chosen = self._collectors()
        if chosen[0].voting_key != self._signer.public:
            self._doubted.add(chosen[0].voting_key)
        collection.stage += 1
        for vote in outstanding:
            self._send_vote(vote, chosen)
        self._set_collect_timer()

    def _outstanding(self) -> tuple[Vote, ...]:
        """The own votes of this view while nothing is decided: who is prepared may be needed by others to be so."""
        return () if self._slot.decided else self._own_votes()

    # As a collector

    def _hand_out(self, phase: Phase, digest: bytes) -> None:
        """As a collector of this view, give everybody the quorum that has just come together."""
        slot = self._slot
        if not self.is_large or phase in slot.collection.handed_out:
            return
        tally = slot.tally(phase, self._view)
        if not tally.has_quorum(digest) or slot.collected(phase, self._view) is not None:
            return
        chosen = tuple(one.voting_key for one in self._collectors())
        if self._signer.public in chosen:
            self._doubted.update(chosen[: chosen.index(self._signer.public)])
            slot.collection.handed_out.add(phase)
            if chosen[0] == self._signer.public:
                self._patience.end(self._now_ms, phase, self._view, slot.height)
            certificate = slot.certificate(phase, self._view, digest)
            self._cast_to_all(collected_votes(certificate, self._members))

    def _answer_late(self, peer: NodeId, ballot: Ballot) -> None:
        """Whoever turns to the second collector late lacks what the first has handed out: give it, once a height.

        The first has sent it to everybody, and cannot tell who lacks it from who was slow.
        """
        answered = self._slot.collection.answered
        if not self.is_large or peer in answered or peer not in self._members.nodes:
            return
        certificate = self._answer_to(ballot)
        second = collectors(self._members, ballot.view, ballot.height)[1:]
        if certificate is not None and self._signer.public in [one.voting_key for one in second]:
            answered.add(peer)
            self._out.append(Send(peer, collected_votes(certificate, self._members)))

    def _answer_to(self, ballot: Ballot) -> Certificate | None:
        """What makes a vote superfluous: its block is committed, or prepared in this view."""
        slot, tip = self._slot, self._tip
        if ballot.epoch != self._members.epoch:
            return None
        if ballot.height == tip.height:
            return self._committed_proof()
        if ballot.height == slot.height and ballot.phase is Phase.PREPARE:
            return self._prepared_now()
        return None

    def _prepared_now(self) -> Certificate | None:
        """The certificate of what is prepared in this view."""
        prepared = self._slot.prepared
        is_now = prepared is not None and prepared.certificate.ballot.view == self._view
        return prepared.certificate if prepared is not None and is_now else None

    # As a voter

    def _take_collected(self, peer: NodeId, message: CollectedVotes) -> Fault | None:
        """Check a certificate that is about this height, and keep it."""
        if peer not in self._members.nodes:
            return UNSEATED
        if peer in self._slot.collection.distrusted:
            return TWICE_BAD
        endorsements = unpacked(message.voters, message.signatures, self._members)
        if endorsements is None:
            return self._distrust(peer, UNMATCHED)
        certificate = Certificate(message.ballot, endorsements)
        fault = certificate_fault(certificate, self._members, self._chain, self._verifier)
        if fault:
            return self._distrust(peer, unsound(f"collected votes: {fault}"))
        self._slot.keep_collected(certificate)
        leader = self._collectors()[0]
        if leader.node != peer and leader.voting_key != self._signer.public:
            self._doubted.add(leader.voting_key)
        return None

    def _distrust(self, peer: NodeId, fault: Fault) -> Fault:
        """Look at no more certificates of this peer at this height; if it is the collector, do not wait for it."""
        self._slot.collection.distrusted.add(peer)
        if any(one.node == peer for one in self._collectors()[: self._slot.collection.stage + 1]):
            self._fall_back()
        return fault

    def _some(self, voters: tuple[bytes, ...]) -> tuple[NodeId, ...]:
        """Those to ask for what each of these voters holds: all, or in a large set a few, others each time."""
        nodes = self._nodes_of(voters)
        if not self.is_large:
            return nodes
        self._asked += 1
        return few_of(nodes, self._asked)
