"""One PBFT replica: who votes for what, and when a leader is replaced (Castro and Liskov 1999, section 4).

One height is decided at a time; the view lives on across heights. The replica is a pure object: its owner feeds it
messages, timers and executed blocks and carries out the effects it returns. Reading order: `voting.py` for the normal
case, `view_changing.py` for the change of views and `view_change.py` for what a new view is bound to, `replica_base.py`
and `vote_log.py` for what survives a restart. Here are the doors to the outside.

Differs from the paper: a leader votes PREPARE as well; a timeout sends SUSPECT and goes on voting, and only a weak
quorum of suspicions starts a view change; lost messages are repaired by STATUS rather than by per-message timers.
"""

from __future__ import annotations

from typing import assert_never

from consensus.certificates import COMMIT
from consensus.faults import OTHER_EPOCH, Fault
from consensus.messages import (
    Body,
    CollectedVotes,
    FetchBody,
    Fetched,
    FetchTransactions,
    FetchViewChanges,
    NewView,
    NewViewNames,
    Proposal,
    Status,
    Suspect,
    ViewChange,
    ViewChangeNames,
    Vote,
)
from consensus.pbft.named_views import NamedViews
from consensus.pbft.replica_base import PROGRESS_TIMER
from consensus.pbft.reports import Tip, ViewEntered
from consensus.pbft.view_change import EpochBase
from consensus.quorum import ValidatorSet
from gossip.codec import Wire
from gossip.effects import Effect, Notify, Send, SetTimer
from gossip.identity import NodeId

ReplicaMessage = (
    Proposal
    | Vote
    | CollectedVotes
    | Suspect
    | ViewChange
    | ViewChangeNames
    | NewView
    | NewViewNames
    | FetchViewChanges
    | FetchBody
    | Body
    | FetchTransactions
    | Fetched
)


class Replica(NamedViews):
    """The voting core of one node in one epoch at a time."""

    __slots__ = ()

    def status(self, certified: int) -> Status:
        """Where this replica stands, for its peers."""
        slot = self._slot
        return Status(
            self._members.epoch,
            self._view,
            self._entered,
            self._tip.height,
            slot.heard is not None,
            slot.prepared is not None and slot.prepared.certificate.ballot.view == self._view,
            certified,
        )

    def on_message(self, now_ms: int, peer: NodeId, message: ReplicaMessage) -> list[Effect]:
        """Take a message that came from `peer`; signatures inside say who made it."""
        self._now_ms = now_ms
        fault = self._dispatch(peer, message)
        if fault is not None:
            self._out.append(fault.of(peer))
        return self._take()

    def on_status(self, now_ms: int, peer: NodeId, status: Status) -> list[Effect]:
        """Give a peer at the same height what it seems to lack."""
        self._now_ms = now_ms
        assert status.height == self._tip.height
        if status.epoch != self._members.epoch:
            self._out.append(OTHER_EPOCH.of(peer))
        elif self.is_validator:
            for message in self._missing_at(status):
                self._out.append(Send(peer, message))
        return self._take()

    def on_progress_timeout(self, now_ms: int) -> list[Effect]:
        """Nothing was decided for too long: suspect the leader of this view."""
        self._now_ms = now_ms
        self._timer_runs = False
        if self.is_validator:
            owed_since_ms = self._owed_since_ms
            self._arm_timer()
            self._owed_since_ms = owed_since_ms
            self._suspect_leader()
        return self._take()

    def on_reach(self, now_ms: int, node: NodeId) -> list[Effect]:
        """A node can be reached, or not any more: if it leads, that changes how long it is waited for."""
        self._now_ms = now_ms
        if self._timer_runs and node == self.leader.node:
            waited_ms = now_ms - self._owed_since_ms
            self._out.append(SetTimer(PROGRESS_TIMER, max(1, self._wait_ms() - waited_ms)))
        return self._take()

    def on_fetch_timeout(self, now_ms: int) -> list[Effect]:
        """A proposal is not whole yet: ask for the rest. Whoever proposes what it does not hand over is suspected."""
        self._now_ms = now_ms
        gathering = self._slot.gathering
        if gathering is not None:
            was_asked = gathering.asked
            self._fetch_transactions()
            if was_asked and not self._requests.has_suspected(self._signer.public):
                self._suspect_leader()
        return self._take()

    def on_collect_timeout(self, now_ms: int) -> list[Effect]:
        """A collector owes a certificate: do not wait for it any longer."""
        self._now_ms = now_ms
        self._fall_back()
        return self._take()

    def set_waiting(self, now_ms: int, waiting: bool) -> list[Effect]:  # noqa: FBT001 - a plain state
        """Say whether there are requests that the leader should have proposed."""
        self._now_ms = now_ms
        if waiting != self._waiting:
            self._waiting = waiting
            self._refresh_timer()
        return self._take()

    def advance(self, now_ms: int, tip: Tip, *, is_unfair: bool = False) -> list[Effect]:
        """The next block is executed, decided here or fetched; go on with the height above it.

        `is_unfair`: it serves some clients long before others that have waited longer.
        """
        self._now_ms = now_ms
        assert tip.height == self._tip.height + 1
        is_bad_leader = self._is_bad_leader(tip, is_unfair=is_unfair)
        self._tip, self._last_block = tip, self._slot.bodies.get(tip.digest)
        self._next_slot()
        self._refresh_timer(restart=True)
        if self._new_view is not None:
            self._learn_commit(self._new_view.view_changes)
        self._replay_ahead()
        self._propose_again()
        if is_bad_leader:
            self._suspect_leader()
        return self._take()

    def _is_bad_leader(self, tip: Tip, *, is_unfair: bool) -> bool:
        """Whether the leader should go though it has decided a block, and would lead on.

        Patience falls back only while blocks come quickly: where the network is slow, and not the leader, it stays.
        """
        took_ms = self._now_ms - self._owed_since_ms if self._timer_runs else 0
        if 2 * took_ms <= self._timing.progress_ms:
            self._failed_views = max(0, self._failed_views - 1)
        leader, next_leader = self.leader, self._members.leader(self._view, tip.height + 1)
        certificate = tip.certificate
        if not self._entered or self._forced() is not None or certificate is None:
            return False
        if certificate.ballot.view != self._view:
            return False
        is_dragging = self._watch.is_dragging(leader.voting_key, took_ms, self._timeout_ms())
        stays = leader == next_leader and leader.voting_key != self._signer.public
        return stays and (is_dragging or is_unfair)

    def enter_epoch(
        self, now_ms: int, members: ValidatorSet, base: EpochBase, tip: Tip
    ) -> list[Effect]:
        """The executed block `tip` changed the validator set: start again at view 0."""
        self._now_ms = now_ms
        assert members.epoch == self._members.epoch + 1
        assert base.height == tip.height
        self._tip, self._last_block = tip, self._slot.bodies.get(tip.digest)
        ahead = self._ahead
        self._begin_epoch(members, base)
        self._ahead = ahead
        self._failed_views = 0
        self._out.append(Notify(ViewEntered(members.epoch, 0)))
        self._refresh_timer(restart=True)
        self._replay_ahead()
        return self._take()

    def resume(self, now_ms: int) -> list[Effect]:
        """The node may vote from now on: do what was left undone."""
        self._now_ms = now_ms
        self._count_own_votes()
        proposal = self._slot.proposal
        if proposal is not None:
            block = self._slot.block
            assert block is not None
            self._accept(proposal, block)
        self._propose_again()
        self._check_suspects()
        self._check_changes()
        self._refresh_timer()
        return self._take()

    def resend(self, now_ms: int) -> list[Effect]:
        """On the STATUS beat: ask again for bodies, and repeat a VIEW-CHANGE byte for byte."""
        self._now_ms = now_ms
        if self._own_change is not None and not self._entered:
            self._repeat_change(self._own_change)
        self._ask_for_parts_again()
        self._propose_again()
        self._check_committed()
        return self._take()

    # Handing out and handing over

    def _dispatch(self, peer: NodeId, message: ReplicaMessage) -> Fault | None:
        match message:
            case Vote():
                return self._on_vote(peer, message)
            case Proposal():
                return self._on_proposal(peer, message)
            case CollectedVotes():
                return self._on_collected(peer, message)
            case Suspect():
                return self._on_suspect(message)
            case ViewChange() | ViewChangeNames() | NewView() | NewViewNames() | FetchViewChanges():
                return self._on_view_message(peer, message)
            case FetchBody():
                return self._on_fetch_body(peer, message)
            case Body():
                return self._on_body(message)
            case FetchTransactions():
                return self._on_fetch_transactions(peer, message)
            case Fetched():
                return self._on_fetched(message)
            case _:
                assert_never(message)

    def _on_view_message(
        self,
        peer: NodeId,
        message: ViewChange | ViewChangeNames | NewView | NewViewNames | FetchViewChanges,
    ) -> Fault | None:
        match message:
            case ViewChange():
                return self._on_view_change_or_part(peer, message)
            case ViewChangeNames():
                return self._on_view_change_names(peer, message)
            case NewView():
                return self._on_new_view(message)
            case NewViewNames():
                return self._on_new_view_names(peer, message)
            case FetchViewChanges():
                return self._on_fetch_view_changes(peer, message)
            case _:
                assert_never(message)

    def _missing_at(self, status: Status) -> list[Wire]:
        """What a peer at the same height lacks, from what it says of itself."""
        slot = self._slot
        if status.view < self._view or (
            status.view == self._view and self._entered and not status.entered
        ):
            if self._entered and self._new_view is not None:
                return [self._shown(self._new_view)]
            return [] if self._own_change is None else [self._shown_change(self._own_change)]
        if status.view != self._view:
            return []
        if not self._entered:
            return [] if self._own_change is None else [self._shown_change(self._own_change)]
        missing: list[Wire] = []
        if not status.has_proposal and slot.proposal is not None:
            missing.append(slot.proposal)
        is_prepared = status.is_prepared
        missing.extend(
            vote for vote in self._own_votes() if vote.ballot.phase is COMMIT or not is_prepared
        )
        return missing
