"""What a replica is made of: its place (epoch, view, height), its votes so far, its one timer, and how it restarts.

`voting.py` adds the normal case, `replica.py` the change of views and the doors to the outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from consensus.blocks import Block
from consensus.certificates import COMMIT, PREPARE, Ballot, Certificate, Phase, endorse
from consensus.faults import FAR_AHEAD, KNOWN, OTHER_EPOCH, OVER, PUSHED_OUT, Fault
from consensus.messages import (
    MAX_SHOWN_VOTES,
    CollectedVotes,
    NewView,
    Proposal,
    ViewChange,
    Vote,
)
from consensus.operations.transactions import Transaction
from consensus.pbft.bodies import LoadBody
from consensus.pbft.collection import Patience
from consensus.pbft.leader_watch import LeaderWatch
from consensus.pbft.opening import Opening
from consensus.pbft.proofs import Proofs
from consensus.pbft.reports import (
    Timing,
    Tip,
)
from consensus.pbft.slot import Slot
from consensus.pbft.view_change import (
    Binding,
    EpochBase,
    Proven,
    Rules,
    compute_binding,
)
from consensus.pbft.view_requests import ViewRequests
from consensus.pbft.vote_log import (
    BallotRecord,
    ViewRecord,
    VoteLog,
    ballot_write,
    body_deletion,
    body_write,
)
from consensus.quorum import Validator, ValidatorSet
from gossip.codec import Digest, Wire
from gossip.effects import (
    Broadcast,
    CancelTimer,
    Effect,
    Persist,
    SetTimer,
    Store,
    Write,
)
from gossip.identity import NodeId, Signer, Verifier

PROGRESS_TIMER = "progress"
_MAX_DOUBLINGS = 16
_AHEAD_KINDS = 4


def _never(_: bytes) -> bool:
    return False


class ReplicaBase:
    """State and the questions about it; effects of one turn gather in `_out`."""

    __slots__ = (
        "_ahead",
        "_asked",
        "_base",
        "_binding",
        "_chain",
        "_check_block",
        "_doubted",
        "_entered",
        "_failed_views",
        "_find",
        "_guard_height",
        "_is_absent",
        "_kept",
        "_last_block",
        "_load_body",
        "_log",
        "_members",
        "_named",
        "_new_view",
        "_now_ms",
        "_openings",
        "_out",
        "_owed_since_ms",
        "_own_change",
        "_patience",
        "_proofs",
        "_proven",
        "_requests",
        "_signer",
        "_slot",
        "_timer_runs",
        "_timing",
        "_tip",
        "_verifier",
        "_view",
        "_waiting",
        "_watch",
        "_written",
        "is_large",
    )

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
        find: Callable[[bytes], Transaction | None],
        load_body: LoadBody | None = None,
        is_absent: Callable[[bytes], bool] = _never,
    ) -> None:
        self._chain = chain
        self._signer = signer
        self._verifier = verifier
        self._timing = timing
        self._check_block = check_block
        self._find = find
        self._load_body = load_body
        self._is_absent = is_absent
        self._out: list[Effect] = []
        self._now_ms = 0
        self._waiting = False
        self._timer_runs = False
        self._owed_since_ms = 0
        self._failed_views = 0
        self._doubted: set[bytes] = set()
        """Voting keys of leaders that have not handed out the votes they were sent."""
        self._asked = 0
        self._patience = Patience(timing.collect_ms)
        self._watch = LeaderWatch()
        self._tip = tip
        self._log = log
        self._members: ValidatorSet
        self.is_large: bool
        """Whether votes of this epoch are collected."""
        self._base: EpochBase
        self._view: int
        self._entered: bool
        self._new_view: NewView | None
        self._own_change: ViewChange | None
        self._binding: Binding | None
        self._requests: ViewRequests
        self._proven: Proven
        self._openings: dict[NodeId, Opening]
        self._proofs = Proofs()
        self._named: tuple[NewView, dict[Digest, ViewChange]] | None = None
        self._ahead: dict[NodeId, list[Proposal | Vote | CollectedVotes]]
        self._slot: Slot
        self._guard_height = 0 if log.ballots is None else log.ballots.height
        self._kept = {body.digest: body.height for body in log.bodies}
        self._written: BallotRecord | None = log.ballots
        self._last_block: Block | None = None
        """The block of the tip, for those who are about to decide it."""
        self._begin_epoch(members, base)

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
    def last_ballots(self) -> BallotRecord | None:
        """What this replica cast last."""
        return self._written

    @property
    def promise(self) -> ViewRecord:
        """The view below which it votes no more."""
        return ViewRecord(self._members.epoch, self._view, self._new_view, self._own_change)

    def seen_of(self, voter: bytes) -> tuple[tuple[Vote, ...], ViewChange | None]:
        """What this replica has seen of a voter above the last block: checked votes, and a VIEW-CHANGE."""
        return self._slot.votes_of(voter)[:MAX_SHOWN_VOTES], self._requests.change_of(voter)

    @property
    def is_impatient(self) -> bool:
        """Whether it has waited in vain since the last block."""
        return not self._entered or self._requests.has_suspected(self._signer.public)

    @property
    def is_busy(self) -> bool:
        """Whether something is under way that others could help with."""
        slot = self._slot
        return self._waiting or not self._entered or slot.heard is not None or slot.has_votes

    @property
    def is_waiting(self) -> bool:
        """Whether there are requests that the leader should have proposed."""
        return self._waiting

    @property
    def is_gathering(self) -> bool:
        """Whether a proposal is here whose transactions are not."""
        return self._slot.gathering is not None

    @property
    def proposed(self) -> frozenset[bytes]:
        """The transactions that the leader of this view has named for the next block."""
        heard = self._slot.heard
        return frozenset() if heard is None else frozenset(heard.transactions)

    def body(self, digest: bytes) -> Block | None:
        """A block that is voted on at this height, if it is here."""
        return self._slot.bodies.get(digest)

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

    def _out_of_place(self, epoch: int, height: int) -> Fault:
        """Why nothing is done with what is neither about the height and view at hand nor just above."""
        if epoch != self._members.epoch:
            return OTHER_EPOCH
        return FAR_AHEAD if height > self._tip.height + 1 else OVER

    def _committed_proof(self) -> Certificate | None:
        return self._tip.certificate if self._tip.height > self._base.height else None

    def _rules(self) -> Rules:
        return Rules(self._chain, self._members, self._base, self._verifier, self._proven)

    # Saying things

    def _keep_ahead(self, peer: NodeId, message: Proposal | Vote | CollectedVotes) -> Fault | None:
        """Keep the newest few messages of each peer; STATUS repairs what does not fit."""
        kept = self._ahead.setdefault(peer, [])
        if message in kept:
            return KNOWN
        kept.append(message)
        if len(kept) <= _AHEAD_KINDS:
            return None
        del kept[0]
        return PUSHED_OUT

    def _own_votes(self) -> tuple[Vote, ...]:
        """The votes that it has cast in this view, while its key may sign."""
        if not self.is_validator:
            return ()
        slot = self._slot
        cast = (PREPARE, slot.prepare_cast), (COMMIT, slot.commit_cast)
        return tuple(self._own_vote(phase, digest) for phase, digest in cast if digest is not None)

    def _own_vote(self, phase: Phase, digest: bytes) -> Vote:
        ballot = Ballot(phase, self._members.epoch, self._view, self._tip.height + 1, digest)
        return Vote(ballot, endorse(self._signer, self._chain, ballot))

    def _persist_vote(self, block: Block, record: BallotRecord, *more: Write) -> None:
        """Put a vote on disk with the block it is for; what is there already is not written again."""
        writes = list(more)
        if block.digest not in self._kept:
            old = [digest for digest, height in self._kept.items() if height < block.height]
            writes += (body_deletion(digest) for digest in old)
            writes.append(body_write(block))
            for digest in old:
                del self._kept[digest]
            self._kept[block.digest] = block.height
        if record != self._written:
            writes.append(ballot_write(record))
            self._written = record
        if writes:
            self._out.append(Persist(Store.VOTES, tuple(writes)))

    def _nodes_of(self, voters: tuple[bytes, ...]) -> tuple[NodeId, ...]:
        seats = (self._members.member(voter) for voter in voters if voter != self._signer.public)
        return tuple(NodeId(seat.node) for seat in seats if seat is not None)

    def _cast_to_all(self, message: Wire) -> None:
        others = self._members.others(self._signer.public)
        if others:
            self._out.append(Broadcast(others, message))

    def _take(self) -> list[Effect]:
        taken, self._out = self._out, []
        return taken

    # Beginnings

    def _begin_epoch(self, members: ValidatorSet, base: EpochBase) -> None:
        self._members, self._base = members, base
        self.is_large = len(members.validators) >= self._timing.collected_from
        self._view, self._entered = 0, True
        self._new_view = self._own_change = self._binding = None
        self._requests = ViewRequests(members)
        self._proven, self._openings = Proven(), {}
        self._ahead = {}
        self._doubted = set()
        self._restore_view()
        self._next_slot()

    def _held(self) -> tuple[Block, ...]:
        """The blocks that others may still need from here."""
        last = () if self._last_block is None else (self._last_block,)
        return (*self._slot.bodies.in_memory(), *last)

    def _next_slot(self) -> None:
        self._slot = Slot(self._members, self._tip.height + 1, self._load_body)
        self._requests.forget_suspicions()
        self._restore_slot()

    def _reset_votes(self) -> None:
        """A new view is asked for: what bound the old one does not bind this one."""
        self._slot.leave_view(self._view, self._kept.keys())
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
            self._requests.ask(self._own_change)

    def _restore_slot(self) -> None:
        """Take back the votes of before the restart when their height is reached again."""
        epoch, height, slot, log = self._members.epoch, self._tip.height + 1, self._slot, self._log
        for body in log.bodies:
            if body.height == height and body.header.epoch == epoch:
                slot.bodies.put(body)
        if log.prepared is not None and slot.bodies.get(log.prepared.header.digest) is not None:
            slot.prepared = log.prepared
        if log.bodies and all(body.height <= self._tip.height for body in log.bodies):
            self._log = replace(log, bodies=())
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
        self._count_own_votes()

    def _count_own_votes(self) -> None:
        """Put what it has cast among the others' votes, unless its key must not sign (yet)."""
        for vote in self._own_votes():
            ballot = vote.ballot
            self._slot.count_own(ballot.phase, ballot.view, vote.endorsement, ballot.digest)

    # The one timer

    def _timeout_ms(self) -> int:
        doubled = self._timing.progress_ms << min(self._failed_views, _MAX_DOUBLINGS)
        return min(doubled, self._timing.progress_cap_ms)

    def _wait_ms(self) -> int:
        """How long to wait for the leader before suspecting it: less if it can't be reached.

        That is this replica's own view of the network, and no more than a suspicion comes of it.
        """
        timeout_ms = self._timeout_ms()
        if self._requests.has_suspected(self._signer.public) or not self._is_absent(
            self.leader.node
        ):
            return timeout_ms
        return min(timeout_ms, self._timing.absent_ms << min(self._failed_views, _MAX_DOUBLINGS))

    def _arm_timer(self) -> None:
        if not self._timer_runs:
            self._timer_runs = True
            self._owed_since_ms = self._now_ms
            self._out.append(SetTimer(PROGRESS_TIMER, self._wait_ms()))

    def _stop_timer(self) -> None:
        if self._timer_runs:
            self._timer_runs = False
            self._out.append(CancelTimer(PROGRESS_TIMER))

    def _refresh_timer(self, *, restart: bool = False) -> None:
        """The timer runs while the view owes a decision, or its leader owes the view."""
        if restart:
            self._stop_timer()
        if self._is_owed_something():
            self._arm_timer()
        else:
            self._stop_timer()

    def _is_owed_something(self) -> bool:
        if not self._entered:
            return self._requests.is_overdue(self._view)
        return self.is_validator and (self._waiting or self._slot.heard is not None)

    def check_invariants(self) -> None:
        """What must hold after every event."""
        self._slot.check_invariants()
        self._requests.check_invariants()
        assert self._slot.height == self._tip.height + 1
        assert self._entered or self._own_change is not None
        assert self._own_change is None or self._own_change.view == self._view
        for kept in self._ahead.values():
            assert len(kept) <= _AHEAD_KINDS
