"""One PBFT replica: who votes for what, and when a leader is replaced (Castro and Liskov 1999, section 4).

One height is decided at a time; the view lives on across heights. The replica is a pure object: its owner feeds it
messages, timers and executed blocks and carries out the effects it returns. Reading order: `on_message` and the
handlers of the normal case here, then `view_change.py` for what a new view is bound to, `vote_log.py` for what survives
a restart.

Differs from the paper: a leader votes PREPARE as well; a timeout sends SUSPECT and goes on voting, and only a weak
quorum of suspicions starts a view change; lost messages are repaired by STATUS rather than by per-message timers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from consensus.blocks import Block, make_block
from consensus.certificates import Ballot, Certificate, Endorsement, Phase, endorse, is_endorsed
from consensus.messages import (
    Body,
    FetchBody,
    NewView,
    PreparedProof,
    Proposal,
    Status,
    Suspect,
    ViewChange,
    Vote,
    new_view_bytes,
    proposal_bytes,
    suspect_bytes,
    view_change_bytes,
)
from consensus.quorum import Validator, ValidatorSet
from consensus.tally import Tally
from consensus.transactions import Transaction
from consensus.view_change import (
    Binding,
    EpochBase,
    Rules,
    compute_binding,
    new_view_fault,
    view_change_fault,
)
from consensus.vote_log import (
    BallotRecord,
    PreparedRecord,
    ViewRecord,
    VoteLog,
    ballot_write,
    prepared_write,
    proposed_write,
    view_write,
)
from gossip.codec import Digest, Wire
from gossip.effects import (
    Broadcast,
    CancelTimer,
    Effect,
    Notify,
    Persist,
    Rejected,
    Send,
    SetTimer,
    Store,
    Write,
)
from gossip.identity import NodeId, Signer, Verifier

PROGRESS_TIMER = "progress"
_MAX_DOUBLINGS = 16
_VIEWS_BACK = 2
_AHEAD_KINDS = 4


@dataclass(frozen=True, slots=True)
class Timing:
    """The protocol's delays in milliseconds. Genesis does not fix them; replicas may differ."""

    progress_ms: int = 1000
    progress_cap_ms: int = 30_000
    status_ms: int = 500
    drift_ms: int = 5_000


@dataclass(frozen=True, slots=True)
class Tip:
    """The last committed block."""

    height: int
    digest: Digest
    timestamp_ms: int
    certificate: Certificate | None
    """None for the genesis."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A block is committed: execute it, then call `advance`."""

    block: Block
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Prepared:
    """A block is prepared here: it may yet be replaced, if no quorum prepared it."""

    block: Block


@dataclass(frozen=True, slots=True)
class ViewEntered:
    """The replica votes in this view from now on."""

    epoch: int
    view: int


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Two signed statements by one voter about the same question: proof that it lies or lost its memory."""

    voter: bytes
    first: Vote | Proposal
    second: Vote | Proposal


@dataclass(slots=True)
class Slot:
    """All that is known about the height being decided."""

    proposal: Proposal | None = None
    bodies: dict[bytes, Block] = field(default_factory=dict)
    tallies: dict[tuple[Phase, int], Tally] = field(default_factory=dict)
    prepared: PreparedProof | None = None
    prepare_cast: bytes | None = None
    commit_cast: bytes | None = None
    decided: bool = False


ReplicaMessage = Proposal | Vote | Suspect | ViewChange | NewView | FetchBody | Body


class Replica:
    """The voting core of one node in one epoch at a time."""

    def __init__(
        self,
        *,
        chain: Digest,
        signer: Signer,
        verifier: Verifier,
        members: ValidatorSet,
        base: EpochBase,
        tip: Tip,
        log: VoteLog,
        timing: Timing,
        check_block: Callable[[Block], str | None],
    ) -> None:
        self._chain = chain
        self._signer = signer
        self._verifier = verifier
        self._timing = timing
        self._check_block = check_block
        self._out: list[Effect] = []
        self._now_ms = 0
        self._waiting = False
        self._timer_runs = False
        self._failed_views = 0
        self._tip = tip
        self._log = log
        self._members: ValidatorSet
        self._base: EpochBase
        self._view: int
        self._entered: bool
        self._new_view: NewView | None
        self._own_change: ViewChange | None
        self._binding: Binding | None
        self._changes: dict[bytes, ViewChange]
        self._suspects: dict[bytes, int]
        self._ahead: dict[NodeId, list[Proposal | Vote]]
        self._slot: Slot
        self._wanted: set[bytes]
        self._guard_height = 0 if log.ballots is None else log.ballots.height
        self._begin_epoch(members, base)

    # What it is asked

    @property
    def members(self) -> ValidatorSet:
        """The validator set of the current epoch."""
        return self._members

    @property
    def view(self) -> int:
        """The view it votes in, or asks for."""
        return self._view

    @property
    def entered(self) -> bool:
        """Whether the view has begun here."""
        return self._entered

    @property
    def tip(self) -> Tip:
        """The last committed block."""
        return self._tip

    @property
    def is_validator(self) -> bool:
        """Whether it has a seat in this epoch."""
        return self._members.member(self._signer.public) is not None

    @property
    def leader(self) -> Validator:
        """Who proposes the next block in the current view."""
        return self._members.leader(self._view, self._tip.height + 1)

    @property
    def can_propose(self) -> bool:
        """Whether a fresh block is this replica's to make now."""
        return (
            self._entered
            and self._leads()
            and self._slot.proposal is None
            and self._may_vote()
            and self._slot.prepare_cast is None
            and self._forced() is None
        )

    @property
    def is_busy(self) -> bool:
        """Whether something is under way that others could help with."""
        slot = self._slot
        return self._waiting or not self._entered or slot.proposal is not None or bool(slot.tallies)

    def status(self, certified: int) -> Status:
        """Where this replica stands, for its peers."""
        slot = self._slot
        return Status(
            self._members.epoch,
            self._view,
            self._entered,
            self._tip.height,
            slot.proposal is not None,
            slot.prepared is not None and slot.prepared.certificate.ballot.view == self._view,
            certified,
        )

    # What it is told

    def on_message(self, now_ms: int, peer: NodeId, message: ReplicaMessage) -> list[Effect]:
        """Take a message that came from `peer`; signatures inside say who made it."""
        self._now_ms = now_ms
        fault = self._dispatch(peer, message)
        if fault:
            self._out.append(Rejected(peer, fault))
        return self._take()

    def on_status(self, now_ms: int, peer: NodeId, status: Status) -> list[Effect]:
        """Give a peer at the same height what it seems to lack."""
        self._now_ms = now_ms
        same_place = status.epoch == self._members.epoch and status.height == self._tip.height
        if same_place and self.is_validator:
            for message in self._missing_at(status):
                self._out.append(Send(peer, message))
        return self._take()

    def on_progress_timeout(self, now_ms: int) -> list[Effect]:
        """Nothing was decided for too long: suspect the leader of this view."""
        self._now_ms = now_ms
        self._timer_runs = False
        if self.is_validator:
            message = suspect_bytes(self._chain, self._members.epoch, self._view)
            suspect = Suspect(
                self._members.epoch, self._view, self._signer.public, self._signer.sign(message)
            )
            self._cast_to_all(suspect)
            self._suspects[self._signer.public] = self._view
            self._arm_timer()
            self._check_suspects()
        return self._take()

    def set_waiting(self, now_ms: int, waiting: bool) -> list[Effect]:  # noqa: FBT001 - a plain state
        """Say whether there are requests that the leader should have proposed."""
        self._now_ms = now_ms
        if waiting != self._waiting:
            self._waiting = waiting
            self._refresh_timer()
        return self._take()

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

    def advance(self, now_ms: int, tip: Tip) -> list[Effect]:
        """The next block is executed, decided here or fetched; go on with the height above it."""
        self._now_ms = now_ms
        assert tip.height == self._tip.height + 1
        self._tip = tip
        self._next_slot()
        self._failed_views = max(0, self._failed_views - 1)
        self._refresh_timer(restart=True)
        self._replay_ahead()
        self._propose_again()
        return self._take()

    def enter_epoch(
        self, now_ms: int, members: ValidatorSet, base: EpochBase, tip: Tip
    ) -> list[Effect]:
        """The executed block `tip` changed the validator set: start again at view 0."""
        self._now_ms = now_ms
        assert members.epoch == self._members.epoch + 1
        assert base.height == tip.height
        self._tip = tip
        ahead = self._ahead
        self._begin_epoch(members, base)
        self._ahead = ahead
        self._failed_views = 0
        self._out.append(Notify(ViewEntered(members.epoch, 0)))
        self._refresh_timer(restart=True)
        self._replay_ahead()
        return self._take()

    # The normal case

    def _dispatch(self, peer: NodeId, message: ReplicaMessage) -> str | None:
        match message:
            case Proposal():
                return self._on_proposal(peer, message)
            case Vote():
                return self._on_vote(peer, message)
            case Suspect():
                return self._on_suspect(message)
            case ViewChange():
                return self._on_view_change(peer, message)
            case NewView():
                return self._on_new_view(message)
            case FetchBody():
                return self._on_fetch_body(peer, message)
            case Body():
                return self._on_body(message)
            case _:
                assert_never(message)

    def _on_proposal(self, peer: NodeId, message: Proposal) -> str | None:
        block = message.block
        if self._is_ahead(message.epoch, message.view, block.height):
            return self._keep_ahead(peer, message)
        if not self._is_here(message.epoch, message.view, block.height):
            return None
        known = self._slot.proposal
        if known is not None and known.block.digest == block.digest:
            return None
        leader = self._members.leader(message.view, block.height)
        signed = message.signing_bytes(self._chain)
        if not self._verifier.verify(leader.voting_key, signed, message.signature):
            return "proposal not signed by the leader of its view"
        if known is not None:
            self._out.append(Notify(Equivocation(leader.voting_key, known, message)))
            return "second proposal by the leader of one view"
        fault = self._block_fault(block, leader)
        if fault:
            return f"proposal: {fault}"
        self._accept(message)
        return None

    def _block_fault(self, block: Block, leader: Validator) -> str | None:
        header = block.header
        if header.chain != self._chain or header.epoch != self._members.epoch:
            return "block of another chain or epoch"
        if header.prev_hash != self._tip.digest:
            return "block does not follow the last committed one"
        forced = self._forced()
        if forced is not None:
            return (
                None
                if forced == block.digest and not block.malformed()
                else "not the block this view is bound to"
            )
        if header.proposer != leader.node:
            return "fresh block by somebody else than the leader"
        if header.timestamp_ms <= self._tip.timestamp_ms:
            return "timestamp not later than the parent's"
        if header.timestamp_ms > self._now_ms + self._timing.drift_ms:
            return (
                f"timestamp {header.timestamp_ms - self._now_ms} ms ahead of this node's clock: "
                "one of the two clocks is wrong"
            )
        return block.malformed() or self._check_block(block)

    def _accept(self, proposal: Proposal) -> None:
        slot, digest = self._slot, proposal.block.digest
        slot.proposal = proposal
        slot.bodies[digest] = proposal.block
        self._refresh_timer()
        if self._may_vote() and slot.prepare_cast in (None, digest):
            self._cast(Phase.PREPARE, digest)
        self._check_prepared()
        self._check_committed()

    def _propose_block(self, block: Block) -> None:
        """Propose as leader: vote first, so that the vote is on disk before the proposal leaves."""
        epoch, view = self._members.epoch, self._view
        message = proposal_bytes(self._chain, epoch, view, block.height, block.digest)
        proposal = Proposal(epoch, view, block, self._signer.sign(message))
        record = self._ballot_write(prepare=block.digest, commit=self._slot.commit_cast)
        self._out.append(Persist(Store.VOTES, (proposed_write(block), record)))
        self._cast_to_all(proposal)
        self._accept(proposal)

    def _on_vote(self, peer: NodeId, message: Vote) -> str | None:
        ballot, voter = message.ballot, message.endorsement.voter
        if self._is_ahead(ballot.epoch, ballot.view, ballot.height):
            return self._keep_ahead(peer, message)
        if ballot.epoch != self._members.epoch or ballot.height != self._tip.height + 1:
            return None
        oldest = self._view if ballot.phase is Phase.PREPARE else self._view - _VIEWS_BACK
        if not oldest <= ballot.view <= self._view:
            return None
        if self._members.member(voter) is None:
            return "vote by no validator of this epoch"
        tally = self._tally(ballot.phase, ballot.view)
        counted = tally.choice_of(voter)
        if counted == ballot.digest or tally.has_quorum(ballot.digest):
            return None
        if not is_endorsed(message.endorsement, ballot, self._chain, self._verifier):
            return "the signature of the vote does not hold"
        if counted is not None:
            return self._report_double_vote(tally, counted, message)
        tally.add(voter, ballot.digest, message.endorsement.signature)
        if ballot.phase is Phase.PREPARE:
            self._check_prepared()
        self._check_committed()
        return None

    def _report_double_vote(self, tally: Tally, counted: bytes, message: Vote) -> str:
        voter, ballot = message.endorsement.voter, message.ballot
        first = next(one for one in tally.endorsements(counted) if one.voter == voter)
        other = Ballot(ballot.phase, ballot.epoch, ballot.view, ballot.height, counted)
        self._out.append(Notify(Equivocation(voter, Vote(other, first), message)))
        return "second vote by one validator in one view and phase"

    def _check_prepared(self) -> None:
        slot = self._slot
        if slot.proposal is None or not self._entered or slot.commit_cast is not None:
            return
        digest = slot.proposal.block.digest
        tally = self._tally(Phase.PREPARE, self._view)
        if not tally.has_quorum(digest):
            return
        ballot = Ballot(
            Phase.PREPARE, self._members.epoch, self._view, self._tip.height + 1, digest
        )
        certificate = Certificate(ballot, tally.endorsements(digest))
        if slot.prepared is None or slot.prepared.certificate.ballot.view < self._view:
            slot.prepared = PreparedProof(slot.proposal.block.header, certificate)
            self._out.append(Notify(Prepared(slot.proposal.block)))
        if self._may_vote():
            record = PreparedRecord(slot.prepared, slot.proposal.block)
            self._cast(Phase.COMMIT, digest, prepared_write(record))

    def _check_committed(self) -> None:
        slot = self._slot
        if slot.decided:
            return
        for (phase, view), tally in sorted(slot.tallies.items(), key=lambda item: item[0]):
            digest = tally.decided() if phase is Phase.COMMIT else None
            if digest is None:
                continue
            block = slot.bodies.get(digest)
            if block is None:
                self._fetch_body(Digest(digest), tally.endorsements(digest))
                continue
            ballot = Ballot(Phase.COMMIT, self._members.epoch, view, self._tip.height + 1, digest)
            slot.decided = True
            self._out.append(
                Notify(Decided(block, Certificate(ballot, tally.endorsements(digest))))
            )
            return

    def _cast(self, phase: Phase, digest: bytes, *writes: Write) -> None:
        """Vote: on disk first, then to everybody, then in the own tally."""
        slot = self._slot
        if phase is Phase.PREPARE:
            slot.prepare_cast = digest
        else:
            slot.commit_cast = digest
        record = self._ballot_write(prepare=slot.prepare_cast, commit=slot.commit_cast)
        self._out.append(Persist(Store.VOTES, (*writes, record)))
        vote = self._own_vote(phase, digest)
        self._cast_to_all(vote)
        tally = self._tally(phase, self._view)
        if tally.choice_of(self._signer.public) is None:
            tally.add(self._signer.public, digest, vote.endorsement.signature)
        if phase is Phase.COMMIT:
            self._check_committed()

    def _own_vote(self, phase: Phase, digest: bytes) -> Vote:
        ballot = Ballot(phase, self._members.epoch, self._view, self._tip.height + 1, digest)
        return Vote(ballot, endorse(self._signer, self._chain, ballot))

    def _ballot_write(self, *, prepare: bytes | None, commit: bytes | None = None) -> Write:
        height = self._tip.height + 1
        return ballot_write(BallotRecord(self._members.epoch, self._view, height, prepare, commit))

    # Bodies that did not come with a proposal

    def _on_fetch_body(self, peer: NodeId, message: FetchBody) -> str | None:
        block = self._slot.bodies.get(message.digest)
        if block is not None:
            self._out.append(Send(peer, Body(block)))
        return None

    def _on_body(self, message: Body) -> str | None:
        block, slot = message.block, self._slot
        wanted = block.height == self._tip.height + 1 and block.digest in self._wanted
        if not wanted or block.digest in slot.bodies:
            return None
        if block.malformed():
            return "the body does not match its header"
        slot.bodies[block.digest] = block
        self._wanted.discard(block.digest)
        self._propose_again()
        self._check_committed()
        return None

    def _fetch_body(self, digest: Digest, holders: tuple[Endorsement, ...]) -> None:
        self._wanted.add(digest)
        nodes = self._nodes_of(tuple(holder.voter for holder in holders))
        self._out.append(Broadcast(nodes, FetchBody(digest)))

    # Suspicion and view change

    def _on_suspect(self, message: Suspect) -> str | None:
        if message.epoch != self._members.epoch or message.view < self._view:
            return None
        if self._members.member(message.voter) is None:
            return "suspicion by no validator of this epoch"
        if self._suspects.get(message.voter, -1) >= message.view:
            return None
        signed = message.signing_bytes(self._chain)
        if not self._verifier.verify(message.voter, signed, message.signature):
            return "the signature of the suspicion does not hold"
        self._suspects[message.voter] = message.view
        self._check_suspects()
        return None

    def _check_suspects(self) -> None:
        """A weak quorum suspects: at least one honest replica waits in vain, so ask for the next view."""
        views = {voter: view for voter, view in self._suspects.items() if view >= self._view}
        if self.is_validator and self._members.is_weak_quorum(
            self._members.power_of(frozenset(views))
        ):
            self._ask_for_view(min(views.values()) + 1)

    def _ask_for_view(self, view: int) -> None:
        """Send VIEW-CHANGE: the promise is on disk before it leaves, and no lower view gets a vote any more."""
        assert view > self._view or not self._entered
        self._view, self._entered, self._new_view = view, False, None
        self._failed_views += 1
        self._reset_votes()
        epoch, committed, prepared = (
            self._members.epoch,
            self._committed_proof(),
            self._slot.prepared,
        )
        signed = view_change_bytes(self._chain, epoch, view, committed, prepared)
        change = ViewChange(
            epoch, view, committed, prepared, self._signer.public, self._signer.sign(signed)
        )
        self._own_change = change
        self._out.append(Persist(Store.VOTES, (view_write(ViewRecord(epoch, view, None, change)),)))
        self._cast_to_all(change)
        self._changes[self._signer.public] = change
        self._stop_timer()
        self._check_changes()

    def _committed_proof(self) -> Certificate | None:
        return self._tip.certificate if self._tip.height > self._base.height else None

    def _on_view_change(self, peer: NodeId, message: ViewChange) -> str | None:
        if message.epoch != self._members.epoch:
            return None
        if message.view < self._view or (message.view == self._view and self._entered):
            if self._new_view is not None:
                self._out.append(Send(peer, self._new_view))
            return None
        known = self._changes.get(message.voter)
        if known is not None and known.view >= message.view:
            return None
        fault = view_change_fault(message, self._rules())
        if fault:
            return fault
        self._changes[message.voter] = message
        self._check_changes()
        return None

    def _check_changes(self) -> None:
        if not self.is_validator:
            return
        higher = {voter: one.view for voter, one in self._changes.items() if one.view > self._view}
        if self._members.is_weak_quorum(self._members.power_of(frozenset(higher))):
            self._ask_for_view(min(higher.values()))
            return
        if self._entered:
            return
        asked = tuple(one for _, one in sorted(self._changes.items()) if one.view == self._view)
        if not self._members.is_quorum(
            self._members.power_of(frozenset(one.voter for one in asked))
        ):
            return
        self._arm_timer()
        binding = compute_binding(asked, self._rules())
        if self._members.leader(self._view, binding.height + 1).voting_key == self._signer.public:
            self._open_view(asked)

    def _open_view(self, asked: tuple[ViewChange, ...]) -> None:
        epoch, view = self._members.epoch, self._view
        signed = new_view_bytes(self._chain, epoch, view, asked)
        message = NewView(epoch, view, asked, self._signer.public, self._signer.sign(signed))
        self._enter(message)
        self._cast_to_all(message)
        self._propose_again()

    def _on_new_view(self, message: NewView) -> str | None:
        if message.epoch != self._members.epoch or message.view < self._view:
            return None
        if message.view == self._view and self._entered:
            return None
        fault = new_view_fault(message, self._rules())
        if fault:
            return fault
        self._enter(message)
        self._replay_ahead()
        self._propose_again()
        return None

    def _enter(self, message: NewView) -> None:
        if message.view > self._view:
            self._view = message.view
            self._reset_votes()
        self._entered, self._new_view, self._own_change = True, message, None
        self._binding = compute_binding(message.view_changes, self._rules())
        self._changes = {
            voter: one for voter, one in self._changes.items() if one.view > self._view
        }
        record = ViewRecord(self._members.epoch, self._view, message, None)
        self._out.append(Persist(Store.VOTES, (view_write(record),)))
        self._out.append(Notify(ViewEntered(self._members.epoch, self._view)))
        self._refresh_timer(restart=True)

    def _propose_again(self) -> None:
        """As leader, propose as it is the block that the view, or a vote from before a restart, binds it to."""
        slot = self._slot
        bound = slot.prepare_cast or self._forced()
        if bound is None or slot.proposal is not None or not self._leads() or not self._may_vote():
            return
        block = slot.bodies.get(bound)
        if block is not None:
            self._propose_block(block)
        elif self._binding is not None:
            self._wanted.add(bound)
            self._out.append(
                Broadcast(self._nodes_of(self._binding.signers), FetchBody(Digest(bound)))
            )

    # Where it stands

    def _forced(self) -> Digest | None:
        """The digest that this view must decide at the current height, if it is bound to one."""
        binding = self._binding
        if binding is None or binding.height != self._tip.height or binding.reproposal is None:
            return None
        return binding.reproposal.digest

    def _leads(self) -> bool:
        return self.leader.voting_key == self._signer.public

    def _may_vote(self) -> bool:
        """Has a seat, is in a view, and this view decides the current height rather than one above it."""
        below = self._binding is not None and self._tip.height < self._binding.height
        return (
            self._entered
            and self.is_validator
            and not below
            and self._tip.height + 1 >= self._guard_height
        )

    def _is_here(self, epoch: int, view: int, height: int) -> bool:
        same_view = self._entered and view == self._view
        return epoch == self._members.epoch and same_view and height == self._tip.height + 1

    def _is_ahead(self, epoch: int, view: int, height: int) -> bool:
        """Just above: the next height, or a view that has not begun here."""
        if height == self._tip.height + 2:
            return epoch in (self._members.epoch, self._members.epoch + 1)
        later_view = view > self._view or (view == self._view and not self._entered)
        return epoch == self._members.epoch and height == self._tip.height + 1 and later_view

    def _keep_ahead(self, peer: NodeId, message: Proposal | Vote) -> str | None:
        """Keep the newest few messages of each peer; STATUS repairs what does not fit."""
        kept = self._ahead.setdefault(peer, [])
        kept.append(message)
        del kept[:-_AHEAD_KINDS]
        return None

    def _replay_ahead(self) -> None:
        ahead, self._ahead = self._ahead, {}
        for peer, messages in ahead.items():
            for message in messages:
                fault = self._dispatch(peer, message)
                if fault:
                    self._out.append(Rejected(peer, fault))

    def _missing_at(self, status: Status) -> list[Wire]:
        """What a peer at the same height lacks, from what it says of itself."""
        slot = self._slot
        if status.view < self._view or (
            status.view == self._view and self._entered and not status.entered
        ):
            sent = self._new_view if self._entered else self._own_change
            return [] if sent is None else [sent]
        if status.view != self._view:
            return []
        if not self._entered:
            return [] if self._own_change is None else [self._own_change]
        missing: list[Wire] = []
        if not status.has_proposal and slot.proposal is not None:
            missing.append(slot.proposal)
        if not status.is_prepared and slot.prepare_cast is not None:
            missing.append(self._own_vote(Phase.PREPARE, slot.prepare_cast))
        if slot.commit_cast is not None:
            missing.append(self._own_vote(Phase.COMMIT, slot.commit_cast))
        return missing

    def resend(self, now_ms: int) -> list[Effect]:
        """On the STATUS beat: ask again for bodies, and repeat a VIEW-CHANGE byte for byte."""
        self._now_ms = now_ms
        if self._own_change is not None and not self._entered:
            self._cast_to_all(self._own_change)
        self._propose_again()
        self._check_committed()
        return self._take()

    def _tally(self, phase: Phase, view: int) -> Tally:
        tallies = self._slot.tallies
        if (phase, view) not in tallies:
            tallies[phase, view] = Tally(self._members)
        return tallies[phase, view]

    def _rules(self) -> Rules:
        return Rules(self._chain, self._members, self._base, self._verifier)

    def _nodes_of(self, voters: tuple[bytes, ...]) -> tuple[NodeId, ...]:
        seats = (self._members.member(voter) for voter in voters if voter != self._signer.public)
        return tuple(NodeId(seat.node) for seat in seats if seat is not None)

    def _cast_to_all(self, message: Wire) -> None:
        others = tuple(
            NodeId(seat.node)
            for seat in self._members.validators
            if seat.voting_key != self._signer.public
        )
        if others:
            self._out.append(Broadcast(others, message))

    def _take(self) -> list[Effect]:
        taken, self._out = self._out, []
        return taken

    # Beginnings

    def _begin_epoch(self, members: ValidatorSet, base: EpochBase) -> None:
        self._members, self._base = members, base
        self._view, self._entered = 0, True
        self._new_view = self._own_change = self._binding = None
        self._changes, self._suspects, self._ahead = {}, {}, {}
        self._restore_view()
        self._next_slot()

    def _next_slot(self) -> None:
        self._slot = Slot()
        self._wanted = set()
        self._suspects = {}
        self._restore_slot()

    def _reset_votes(self) -> None:
        """A new view is asked for: votes and proposal of the old one no longer count as this view's."""
        slot = self._slot
        slot.proposal, slot.prepare_cast, slot.commit_cast = None, None, None
        oldest = self._view - _VIEWS_BACK
        slot.tallies = {key: one for key, one in slot.tallies.items() if key[1] >= oldest}
        self._binding = None

    def _restore_view(self) -> None:
        """Be in the view, or bound to the promise, that the log names for this epoch."""
        record = self._log.view
        if record is None or record.epoch != self._members.epoch:
            return
        self._view = record.view
        self._new_view, self._own_change = record.entered, record.promised
        self._entered = self._new_view is not None
        if self._new_view is not None:
            self._binding = compute_binding(self._new_view.view_changes, self._rules())
        if self._own_change is not None:
            self._changes[self._signer.public] = self._own_change

    def _restore_slot(self) -> None:
        """Take back the votes of before the restart when their height is reached again."""
        epoch, height, slot, log = self._members.epoch, self._tip.height + 1, self._slot, self._log
        for body in (log.proposed, None if log.prepared is None else log.prepared.block):
            if body is not None and body.height == height and body.header.epoch == epoch:
                slot.bodies[body.digest] = body
        if log.prepared is not None and log.prepared.block.digest in slot.bodies:
            slot.prepared = log.prepared.proof
        ballots = log.ballots
        if ballots is None or (ballots.epoch, ballots.height, ballots.view) != (
            epoch,
            height,
            self._view,
        ):
            return
        if not self._entered:
            return
        slot.prepare_cast, slot.commit_cast = ballots.prepare, ballots.commit
        for phase, digest in ((Phase.PREPARE, ballots.prepare), (Phase.COMMIT, ballots.commit)):
            if digest is not None:
                vote = self._own_vote(phase, digest)
                self._tally(phase, self._view).add(
                    self._signer.public, digest, vote.endorsement.signature
                )

    # The one timer

    def _timeout_ms(self) -> int:
        doubled = self._timing.progress_ms << min(self._failed_views, _MAX_DOUBLINGS)
        return min(doubled, self._timing.progress_cap_ms)

    def _arm_timer(self) -> None:
        if not self._timer_runs:
            self._timer_runs = True
            self._out.append(SetTimer(PROGRESS_TIMER, self._timeout_ms()))

    def _stop_timer(self) -> None:
        if self._timer_runs:
            self._timer_runs = False
            self._out.append(CancelTimer(PROGRESS_TIMER))

    def _refresh_timer(self, *, restart: bool = False) -> None:
        """The timer runs while an entered view owes a decision."""
        if restart:
            self._stop_timer()
        if (
            self._entered
            and self.is_validator
            and (self._waiting or self._slot.proposal is not None)
        ):
            self._arm_timer()
        elif self._entered:
            self._stop_timer()

    def check_invariants(self) -> None:
        """What must hold after every event."""
        slot = self._slot
        assert slot.commit_cast is None or slot.prepared is not None
        assert not slot.decided or any(phase is Phase.COMMIT for phase, _ in slot.tallies)
        assert self._entered or self._own_change is not None
        assert self._own_change is None or self._own_change.view == self._view
        assert len(self._changes) <= len(self._members.validators)
        assert all(len(kept) <= _AHEAD_KINDS for kept in self._ahead.values())
