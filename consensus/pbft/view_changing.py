"""Replacing a leader: suspicion, VIEW-CHANGE, NEW-VIEW (Castro and Liskov 1999, section 4.4).

Differs from the paper: a timeout sends SUSPECT and goes on voting; only a weak quorum of suspicions, so at least one
honest replica that waits in vain, makes it send VIEW-CHANGE. What the new view is bound to is in `view_change.py`.
"""

from __future__ import annotations

from consensus.faults import KNOWN, OTHER_EPOCH, OVER, Fault, forged, seatless
from consensus.messages import (
    MOST_WHOLE_CHANGES,
    NewView,
    Suspect,
    ViewChange,
    ViewChangeNames,
    new_view_bytes,
    suspect_bytes,
    view_change_bytes,
)
from consensus.pbft.collection import few_of
from consensus.pbft.reports import ViewEntered
from consensus.pbft.view_change import compute_binding, new_view_fault, view_change_fault
from consensus.pbft.vote_log import ViewRecord, view_write
from consensus.pbft.voting import Voting
from gossip.codec import Wire
from gossip.effects import Broadcast, Notify, Persist, Send, Store
from gossip.identity import NodeId


class ViewChanging(Voting):
    """From the first suspicion to the next view."""

    __slots__ = ()

    def _suspect_leader(self) -> None:
        if self.is_validator:
            message = suspect_bytes(self._chain, self._members.epoch, self._view)
            suspect = Suspect(
                self._members.epoch, self._view, self._signer.public, self._signer.sign(message)
            )
            self._cast_to_all(suspect)
            self._requests.suspect(self._signer.public, self._view)
            self._check_suspects()

    def _on_suspect(self, message: Suspect) -> Fault | None:
        if message.epoch != self._members.epoch:
            return OTHER_EPOCH
        if message.view < self._view:
            return OVER
        if self._members.member(message.voter) is None:
            return seatless("suspicion")
        if not self._requests.is_news(message):
            return KNOWN
        signed = message.signing_bytes(self._chain)
        if not self._verifier.verify(message.voter, signed, message.signature):
            return forged("suspicion")
        self._requests.suspect(message.voter, message.view)
        self._check_suspects()
        return None

    def _check_suspects(self) -> None:
        wanted = self._requests.view_after_suspicions(self._view)
        if wanted is not None and self.is_validator:
            self._ask_for_view(wanted)

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
        self._cast_to_all(self._shown_change(change))
        self._requests.ask(change)
        self._stop_timer()
        self._check_changes()

    def _on_view_change(self, peer: NodeId, message: ViewChange) -> Fault | None:
        fault = self._change_out_of_place(peer, message)
        if fault is not None:
            return fault
        why = view_change_fault(message, self._rules())
        if why:
            return why
        self._requests.ask(message)
        self._learn_commit((message,))
        self._check_changes()
        return None

    def _change_out_of_place(
        self, peer: NodeId, message: ViewChange | ViewChangeNames
    ) -> Fault | None:
        """Why a VIEW-CHANGE changes nothing, whoever signed it; whose view is over is told of this one."""
        if message.epoch != self._members.epoch:
            return OTHER_EPOCH
        if message.view < self._view or (message.view == self._view and self._entered):
            if self._new_view is not None:
                self._out.append(Send(peer, self._shown(self._new_view)))
            return OVER
        return None if self._requests.is_news(message) else KNOWN

    def _learn_commit(self, changes: tuple[ViewChange, ...]) -> None:
        """Decide what a VIEW-CHANGE shows to be committed.

        The new view may begin above it; whoever showed it need not hand the block over, but the signers of the
        certificate have it.
        """
        for change in changes:
            shown = change.committed
            if shown is not None and shown.ballot.height == self._slot.height:
                self._slot.shown_commit = shown
                self._check_committed()
                return

    def _check_changes(self) -> None:
        if not self.is_validator:
            return
        joined = self._requests.view_to_join(self._view)
        if joined is not None:
            self._ask_for_view(joined)
            return
        if self._entered:
            return
        self._refresh_timer()
        asked = self._requests.quorum_for(self._view)
        if asked is None:
            return
        binding = compute_binding(asked, self._rules())
        leader = self._members.leader(self._view, binding.height + 1)
        if leader.voting_key == self._signer.public:
            self._open_view(asked)

    def _open_view(self, asked: tuple[ViewChange, ...]) -> None:
        epoch, view = self._members.epoch, self._view
        signed = new_view_bytes(self._chain, epoch, view, asked)
        message = NewView(epoch, view, asked, self._signer.public, self._signer.sign(signed))
        self._enter(message)
        self._cast_to_all(self._shown(message))
        self._propose_again()

    def _shown(self, message: NewView) -> Wire:
        """How others are told of the view: in a large set by names, since all of it would not fit in a frame."""
        is_long = self.is_large or len(message.view_changes) > MOST_WHOLE_CHANGES
        return message.names() if is_long else message

    def _shown_change(self, change: ViewChange) -> Wire:
        """The same of a request for a view: what it shows most others have."""
        return change.names() if self.is_large else change

    def _repeat_change(self, change: ViewChange) -> None:
        """Byte for byte: to everybody, or in a large set to a few, others each time, and to whoever opens the view."""
        if not self.is_large:
            self._cast_to_all(change)
            return
        self._asked += 1
        others = self._nodes_of(tuple(one.voting_key for one in self._members.validators))
        to = {*few_of(others, self._asked), *self._nodes_of((self.leader.voting_key,))}
        self._out.append(Broadcast(tuple(sorted(to)), self._shown_change(change)))

    def _on_new_view(self, message: NewView) -> Fault | None:
        if message.epoch != self._members.epoch:
            return OTHER_EPOCH
        if message.view < self._view:
            return OVER
        if message.view == self._view and self._entered:
            return KNOWN
        fault = new_view_fault(message, self._rules())
        if fault:
            return fault
        self._enter(message)
        self._learn_commit(message.view_changes)
        self._replay_ahead()
        self._propose_again()
        return None

    def _enter(self, message: NewView) -> None:
        if message.view > self._view:
            self._view = message.view
            self._reset_votes()
        self._entered, self._new_view, self._own_change = True, message, None
        self._binding = compute_binding(message.view_changes, self._rules())
        self._requests.forget_up_to(self._view)
        self._openings = {
            peer: one for peer, one in self._openings.items() if one.names.view > self._view
        }
        record = ViewRecord(self._members.epoch, self._view, message, None)
        self._out.append(Persist(Store.VOTES, (view_write(record),)))
        self._out.append(Notify(ViewEntered(self._members.epoch, self._view)))
        self._refresh_timer(restart=True)
