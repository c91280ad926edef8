"""NEW-VIEW by the names of its VIEW-CHANGEs, for sets in which it would not fit in a frame.

A peer that names what nobody has signed, or hands over nothing, costs what it is asked for and no view: each peer's
names stand for themselves, and whoever has entered the view answers a STATUS with them.
"""

from __future__ import annotations

from collections.abc import Iterable

from consensus.faults import KNOWN, NOT_HERE, OTHER_EPOCH, OVER, Fault, unsound
from consensus.messages import FetchViewChanges, NewViewNames, ViewChange, ViewChangeNames
from consensus.pbft.opening import Opening
from consensus.pbft.view_change import view_change_fault
from consensus.pbft.view_changing import ViewChanging
from gossip.codec import Digest
from gossip.effects import Cause, Send
from gossip.identity import NodeId

OUTSIDER = Fault(Cause.NOT_ENTITLED, "views are opened and told of by validators only")


class NamedViews(ViewChanging):
    """Both sides of it: naming, and finding what is named."""

    __slots__ = ()

    def _on_new_view_names(self, peer: NodeId, message: NewViewNames) -> Fault | None:
        if message.epoch != self._members.epoch:
            return OTHER_EPOCH
        if message.view < self._view:
            return OVER
        if message.view == self._view and self._entered:
            return KNOWN
        if peer not in self._members.nodes:
            return OUTSIDER
        if len(set(message.changes)) != len(message.changes):
            return unsound("a new view names one view change twice")
        known = self._openings.get(peer)
        if known is not None and known.names == message:
            return KNOWN
        self._openings[peer] = Opening(message)
        return self._fill_opening(peer, self._requests.named(message.view))

    def _fill_opening(
        self, peer: NodeId, found: Iterable[tuple[Digest, ViewChange]]
    ) -> Fault | None:
        if self._openings[peer].take(found):
            return self._go_on_opening(peer)
        del self._openings[peer]
        return unsound("a new view names two view changes of one voter")

    def _go_on_opening(self, peer: NodeId) -> Fault | None:
        """Enter the view if all that it needs is here; otherwise ask whoever has named it."""
        opening = self._openings[peer]
        message = opening.whole()
        if message is None:
            wanted = opening.ask()
            if wanted:
                self._out.append(Send(peer, FetchViewChanges(wanted)))
            return None
        del self._openings[peer]
        return self._on_new_view(message)

    def _on_view_change_names(self, peer: NodeId, message: ViewChangeNames) -> Fault | None:
        """A VIEW-CHANGE that names what it shows: made whole from what is here, or asked for; nothing is kept of it."""
        fault = self._change_out_of_place(peer, message)
        if fault is not None:
            return fault
        if peer not in self._members.nodes:
            return OUTSIDER
        self._proofs.look_at(self._committed_proof(), self._slot.prepared)
        whole = self._proofs.whole(message)
        if whole is not None:
            return self._on_view_change(peer, whole)
        self._out.append(Send(peer, FetchViewChanges((message.name,))))
        return None

    def _on_view_change_or_part(self, peer: NodeId, message: ViewChange) -> Fault | None:
        """A VIEW-CHANGE may be asked for because a new view names it, whatever its sender asks for by now."""
        fault = self._on_view_change(peer, message)
        if fault is None and self.is_large:
            for proof in (message.committed, message.prepared):
                if proof is not None:
                    self._proofs.keep(proof)
        named = [one for one, opening in self._openings.items() if _is_of(opening, message)]
        if not named:
            return fault
        name, is_wanted = message.name, False
        for other in named:
            opening = self._openings.get(other)
            if opening is None or not opening.wants(name):
                continue
            why = view_change_fault(message, self._rules())
            if why:
                return why
            is_wanted = True
            bad = self._fill_opening(other, ((name, message),))
            if bad is not None:
                self._out.append(bad.of(other))
        return None if is_wanted else fault

    def _ask_for_parts_again(self) -> None:
        """On the beat: what was asked for has not come."""
        self._openings = {
            peer: one for peer, one in self._openings.items() if one.names.view >= self._view
        }
        for peer, opening in self._openings.items():
            wanted = opening.ask(again=True)
            self._out.append(Send(peer, FetchViewChanges(wanted)))

    def _on_fetch_view_changes(self, peer: NodeId, message: FetchViewChanges) -> Fault | None:
        if peer not in self._members.nodes:
            return OUTSIDER
        named = {**self._named_here(), **dict(self._requests.named(self._view))}
        found = [named[name] for name in map(Digest, message.names) if name in named]
        self._out += (Send(peer, one) for one in found)
        return None if found else NOT_HERE

    def _named_here(self) -> dict[Digest, ViewChange]:
        """What this view began with, by name; hashed once."""
        new_view = self._new_view
        if new_view is None:
            return {}
        if self._named is None or self._named[0] is not new_view:
            self._named = (new_view, {one.name: one for one in new_view.view_changes})
        return self._named[1]


def _is_of(opening: Opening, change: ViewChange) -> bool:
    return opening.names.view == change.view
