"""The normal case of PBFT: proposal, PREPARE, COMMIT (Castro and Liskov 1999, section 4.2).

Differs from the paper: the leader votes PREPARE as well, and one height is decided at a time.
"""

from __future__ import annotations

from consensus.blocks import MAX_BLOCK_BYTES, Block, Header, make_block
from consensus.certificates import COMMIT, PREPARE, Ballot, Phase, is_endorsed
from consensus.faults import KNOWN, NOT_HERE, OVER, UNASKED, Fault, forged, seatless, unsound
from consensus.messages import (
    Body,
    CollectedVotes,
    FetchBody,
    Fetched,
    FetchTransactions,
    PreparedProof,
    Proposal,
    Vote,
    batched,
    proposal_bytes,
)
from consensus.operations.transactions import Transaction, decode_transaction
from consensus.pbft.collecting import Collecting
from consensus.pbft.gathering import FETCH_TIMER, FIRST_FETCH_MS, Gathering
from consensus.pbft.reports import (
    Decided,
    Equivocation,
    Prepared,
)
from consensus.pbft.slot import VIEWS_BACK
from consensus.pbft.tally import Tally
from consensus.pbft.vote_log import (
    BallotRecord,
    prepared_write,
)
from consensus.quorum import Validator
from gossip.codec import DecodeError, Digest
from gossip.effects import (
    Broadcast,
    Cause,
    Effect,
    Notify,
    Send,
    SetTimer,
    Write,
)
from gossip.identity import NodeId


class Voting(Collecting):
    """Deciding one height in one view."""

    __slots__ = ()

    @property
    def can_propose(self) -> bool:
        """Whether a fresh block is this replica's to make now."""
        return (
            self._entered
            and self._slot.prepare_cast is None
            and self._slot.heard is None
            and self._leads()
            and self._may_vote()
            and self._forced() is None
        )

    def propose(self, now_ms: int, transactions: tuple[Transaction, ...]) -> list[Effect]:
        """Put a fresh block to the vote; only when `can_propose`."""
        assert self.can_propose
        self._now_ms = now_ms
        seat = self._members.member(self._signer.public)
        assert seat is not None
        block = make_block(
            chain=self._chain,
            height=self._tip.height + 1,
            epoch=self._members.epoch,
            prev_hash=self._tip.digest,
            proposer=seat.node,
            timestamp_ms=max(now_ms, self._tip.timestamp_ms + 1),
            transactions=transactions,
        )
        self._propose_block(block)
        return self._take()

    # The three phases

    def _on_proposal(self, peer: NodeId, message: Proposal) -> Fault | None:
        if self._is_ahead(message.epoch, message.view, message.height):
            return self._keep_ahead(peer, message)
        if not self._is_here(message.epoch, message.view, message.height):
            return self._out_of_place(message.epoch, message.height)
        slot, known = self._slot, self._slot.heard
        if known is not None and (known.digest == message.digest or slot.is_leader_exposed):
            if slot.gathering is not None and known.digest == message.digest:
                slot.gathering.peer = peer
            return KNOWN
        leader = self._members.leader(message.view, message.height)
        signed = message.signing_bytes(self._chain)
        if not self._verifier.verify(leader.voting_key, signed, message.signature):
            return Fault(Cause.SIGNATURE, "proposal not signed by the leader of its view")
        if known is not None:
            slot.is_leader_exposed = True
            self._out.append(Notify(Equivocation(leader.voting_key, known, message)))
            return Fault(Cause.CONTRADICTION, "second proposal by the leader of one view")
        if message.header.chain != self._chain:
            return Fault(Cause.WRONG_CHAIN, "proposal: block of another chain")
        fault = self._header_fault(message.header, leader) or message.malformed()
        if fault:
            return unsound(f"proposal: {fault}")
        slot.gathering = Gathering(message, peer)
        return self._gather()

    def _gather(self) -> Fault | None:
        """Go on with the proposal if all its transactions are here; otherwise wait for them."""
        slot, gathering = self._slot, self._slot.gathering
        assert gathering is not None
        digest = gathering.proposal.digest
        gathering.look(self._find)
        block = slot.bodies.get(digest) or gathering.block()
        if block is None:
            if not gathering.is_timed:
                gathering.is_timed = True
                self._out.append(SetTimer(FETCH_TIMER, FIRST_FETCH_MS))
                self._refresh_timer()
            return None
        slot.gathering = None
        fault = None if self._forced() == digest else self._body_fault(block)
        if fault:
            return unsound(f"proposal: {fault}")
        self._accept(gathering.proposal, block)
        return None

    def _body_fault(self, block: Block) -> str | None:
        if sum(map(len, block.raw_transactions)) > MAX_BLOCK_BYTES:
            return f"more than {MAX_BLOCK_BYTES} bytes of transactions"
        return self._check_block(block)

    def _header_fault(self, header: Header, leader: Validator) -> str | None:
        if header.epoch != self._members.epoch:
            return "block of another epoch"
        if header.prev_hash != self._tip.digest:
            return "block does not follow the last committed one"
        forced = self._forced()
        if forced is not None:
            return None if forced == header.digest else "not the block this view is bound to"
        if header.proposer != leader.node:
            return "fresh block by somebody else than the leader"
        if header.timestamp_ms <= self._tip.timestamp_ms:
            return "timestamp not later than the parent's"
        if header.timestamp_ms > self._now_ms + self._timing.drift_ms:
            return (
                f"timestamp {header.timestamp_ms - self._now_ms} ms ahead of this node's clock: "
                "one of the two clocks is wrong"
            )
        return None

    def _accept(self, proposal: Proposal, block: Block) -> None:
        slot, digest = self._slot, block.digest
        slot.proposal = proposal
        slot.bodies.put(block)
        self._refresh_timer()
        if self._may_vote() and slot.prepare_cast in (None, digest):
            self._cast(PREPARE, block)
        self._check_prepared()
        self._check_committed()

    def _propose_block(self, block: Block) -> None:
        """Propose as leader: vote first, so that the vote is on disk before the proposal leaves."""
        epoch, view, digest = self._members.epoch, self._view, block.digest
        signed = proposal_bytes(self._chain, epoch, view, block.height, digest)
        names = tuple([one.id for one in block.transactions])
        proposal = Proposal(epoch, view, block.header, names, self._signer.sign(signed))
        record = BallotRecord(epoch, view, block.height, digest, self._slot.commit_cast)
        self._persist_vote(block, record)
        self._cast_to_all(proposal)
        self._accept(proposal, block)

    def _propose_again(self) -> None:
        """As leader, propose as it is the block that the view, or a vote from before a restart, binds it to."""
        slot = self._slot
        bound = slot.prepare_cast or self._forced()
        if bound is None or slot.heard is not None or not self._leads() or not self._may_vote():
            return
        block = slot.bodies.get(bound)
        if block is not None:
            self._propose_block(block)
        elif self._binding is not None:
            self._fetch_body(Digest(bound), self._binding.signers)

    def _on_vote(self, peer: NodeId, message: Vote) -> Fault | None:
        ballot, voter = message.ballot, message.endorsement.voter
        if self._is_ahead(ballot.epoch, ballot.view, ballot.height):
            return self._keep_ahead(peer, message)
        if ballot.epoch != self._members.epoch or ballot.height != self._tip.height + 1:
            self._answer_late(peer, ballot)
            return self._out_of_place(ballot.epoch, ballot.height)
        oldest = self._view if ballot.phase is PREPARE else self._view - VIEWS_BACK
        if not oldest <= ballot.view <= self._view:
            return OVER
        if self._members.member(voter) is None:
            return seatless("vote")
        tally = self._slot.tally(ballot.phase, ballot.view)
        counted = tally.choice_of(voter)
        if counted == ballot.digest or tally.has_quorum(ballot.digest) or tally.is_exposed(voter):
            self._answer_late(peer, ballot)
            return KNOWN
        if not is_endorsed(message.endorsement, ballot, self._chain, self._verifier):
            return forged("vote")
        if counted is not None:
            return self._report_double_vote(tally, counted, message)
        tally.add(voter, ballot.digest, message.endorsement.signature)
        if ballot.view == self._view:
            self._hand_out(ballot.phase, ballot.digest)
        if ballot.phase is PREPARE:
            self._check_prepared()
        self._check_committed()
        return None

    def _on_collected(self, peer: NodeId, message: CollectedVotes) -> Fault | None:
        """A quorum's votes at once: from here on all is as if they had come one by one."""
        ballot, slot = message.ballot, self._slot
        if self._is_ahead(ballot.epoch, ballot.view, ballot.height):
            return self._keep_ahead(peer, message)
        self._note_wait(peer, ballot)
        if ballot.epoch != self._members.epoch or ballot.height != self._tip.height + 1:
            return self._out_of_place(ballot.epoch, ballot.height)
        if ballot.phase is PREPARE and ballot.view != self._view:
            return OVER
        if slot.collected(ballot.phase, ballot.view) is not None or slot.decided:
            return KNOWN
        if ballot.phase is PREPARE and self._prepared_now() is not None:
            return KNOWN
        fault = self._take_collected(peer, message)
        if fault is not None:
            return fault
        self._expose_double_votes(ballot)
        self._check_prepared()
        self._check_committed()
        return None

    def _expose_double_votes(self, ballot: Ballot) -> None:
        """Whose vote has come by itself for one digest, and collected for another."""
        collected = self._slot.collected(ballot.phase, ballot.view)
        tally = self._slot.tally(ballot.phase, ballot.view)
        for one in () if collected is None else collected.endorsements:
            counted = tally.choice_of(one.voter)
            if counted not in (None, ballot.digest) and not tally.is_exposed(one.voter):
                self._report_double_vote(tally, counted, Vote(ballot, one))

    def _report_double_vote(self, tally: Tally, counted: bytes, message: Vote) -> Fault:
        """Once for each voter and question: whoever sends more of them has them looked at no more."""
        tally.expose(message.endorsement.voter)
        voter, ballot = message.endorsement.voter, message.ballot
        first = next(one for one in tally.endorsements(counted) if one.voter == voter)
        other = Ballot(ballot.phase, ballot.epoch, ballot.view, ballot.height, counted)
        self._out.append(Notify(Equivocation(voter, Vote(other, first), message)))
        return Fault(Cause.CONTRADICTION, "second vote by one validator in one view and phase")

    def _check_prepared(self) -> None:
        slot = self._slot
        block = slot.block
        if block is None or not self._entered or slot.commit_cast is not None:
            return
        certificate = slot.prepared_certificate(self._view)
        if certificate is None:
            return
        if slot.prepared is None or slot.prepared.certificate.ballot.view < self._view:
            slot.prepared = PreparedProof(block.header, certificate)
            self._out.append(Notify(Prepared(block)))
        if self._may_vote():
            self._cast(COMMIT, block, prepared_write(slot.prepared))

    def _check_committed(self) -> None:
        slot = self._slot
        certificate = None if slot.decided else slot.committed_certificate()
        if certificate is None:
            return
        block = slot.bodies.get(certificate.ballot.digest)
        if block is None:
            holders = tuple(one.voter for one in certificate.endorsements)
            self._fetch_body(Digest(certificate.ballot.digest), holders)
            return
        slot.decided = True
        self._out.append(Notify(Decided(block, certificate)))

    def _cast(self, phase: Phase, block: Block, *writes: Write) -> None:
        """Vote: on disk first, then to everybody, then in the own tally."""
        slot, digest = self._slot, block.digest
        if phase is PREPARE:
            slot.prepare_cast = digest
        else:
            slot.commit_cast = digest
        place = self._members.epoch, self._view, slot.height
        record = BallotRecord(*place, slot.prepare_cast, slot.commit_cast)
        self._persist_vote(block, record, *writes)
        vote = self._own_vote(phase, digest)
        self._spread(vote)
        slot.count_own(phase, self._view, vote.endorsement, digest)
        self._hand_out(phase, digest)
        if phase is COMMIT:
            self._check_committed()

    def _replay_ahead(self) -> None:
        """What came too early may be in place now."""
        ahead, self._ahead = self._ahead, {}
        for peer, messages in ahead.items():
            for message in messages:
                match message:
                    case Vote():
                        fault = self._on_vote(peer, message)
                    case CollectedVotes():
                        fault = self._on_collected(peer, message)
                    case _:
                        fault = self._on_proposal(peer, message)
                if fault is not None:
                    self._out.append(fault.of(peer))

    # Bodies that are not here

    def look(self, now_ms: int) -> list[Effect]:
        """Transactions have come in; perhaps those that a proposal waits for. Only when `is_gathering`."""
        self._now_ms = now_ms
        self._go_on_gathering()
        return self._take()

    def _go_on_gathering(self) -> None:
        gathering = self._slot.gathering
        assert gathering is not None
        fault = self._gather()
        if fault:
            self._out.append(fault.of(gathering.peer))

    def _on_fetched(self, message: Fetched) -> Fault | None:
        """Bodies that were asked for; whatever else comes is not kept."""
        gathering = self._slot.gathering
        if gathering is None:
            return UNASKED
        try:
            is_news = gathering.take(map(decode_transaction, message.raw))
        except DecodeError as error:
            return Fault(Cause.MALFORMED, f"a fetched transaction does not decode: {error}")
        if not is_news:
            return UNASKED
        self._go_on_gathering()
        return None

    def _on_fetch_transactions(self, peer: NodeId, message: FetchTransactions) -> Fault | None:
        """Hand over what is in the block under way, or waits for one."""
        if peer not in self._members.nodes:
            return Fault(
                Cause.NOT_ENTITLED, "only validators are handed the transactions of proposals"
            )
        here = {one.id: one for block in self._held() for one in block.transactions}
        found = (here.get(Digest(name)) or self._find(name) for name in message.transactions)
        answers = batched(one.raw for one in found if one is not None)
        self._out += (Send(peer, Fetched(batch)) for batch in answers)
        return None if answers else NOT_HERE

    def _fetch_transactions(self) -> None:
        """Ask for what a proposal still lacks: whoever brought it first, then everybody who says that it holds all."""
        gathering = self._slot.gathering
        assert gathering is not None
        asked = {gathering.peer}
        if gathering.asked:
            digest, shown = gathering.proposal.digest, self._slot.shown_prepare
            holders = self._slot.tally(PREPARE, self._view).endorsements(digest)
            if shown is not None and shown.ballot.digest == digest:
                holders += shown.endorsements
            asked.update(self._some(tuple(one.voter for one in holders)))
        gathering.asked = True
        self._out.append(Broadcast(tuple(sorted(asked)), FetchTransactions(gathering.lacking)))
        self._out.append(SetTimer(FETCH_TIMER, self._timing.fetch_ms))

    def _on_fetch_body(self, peer: NodeId, message: FetchBody) -> Fault | None:
        last = self._last_block
        is_last = last is not None and last.digest == message.digest
        block = last if is_last else self._slot.bodies.get(message.digest)
        if block is None:
            return NOT_HERE
        self._out.append(Send(peer, Body(block)))
        return None

    def _on_body(self, message: Body) -> Fault | None:
        block, slot = message.block, self._slot
        if block.height != slot.height or block.digest not in slot.wanted:
            return UNASKED
        if block.malformed():
            return Fault(Cause.MALFORMED, "the body does not match its header")
        slot.bodies.put(block)
        slot.wanted.discard(block.digest)
        if slot.gathering is not None:
            self._go_on_gathering()
        self._propose_again()
        self._check_committed()
        return None

    def _fetch_body(self, digest: Digest, holders: tuple[bytes, ...]) -> None:
        self._slot.wanted.add(digest)
        self._out.append(Broadcast(self._some(holders), FetchBody(digest)))
