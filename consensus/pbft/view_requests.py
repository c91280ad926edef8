"""Who suspects which view, who asks for which: the gathering side of a view change within one epoch."""

from __future__ import annotations

from consensus.messages import Suspect, ViewChange, ViewChangeNames
from consensus.quorum import ValidatorSet
from gossip.codec import Digest


class ViewRequests:
    """At most one suspicion and one VIEW-CHANGE per voter, the one for the highest view."""

    def __init__(self, members: ValidatorSet) -> None:
        self._members = members
        self._suspicions: dict[bytes, int] = {}
        self._changes: dict[bytes, ViewChange] = {}
        self._names: dict[bytes, tuple[ViewChange, Digest]] = {}

    def is_news(self, message: Suspect | ViewChange | ViewChangeNames) -> bool:
        """Whether a message would change anything; asked before its signature is checked."""
        if isinstance(message, Suspect):
            return self._suspicions.get(message.voter, -1) < message.view
        known = self._changes.get(message.voter)
        return known is None or known.view < message.view

    def suspect(self, voter: bytes, view: int) -> None:
        """Count a checked suspicion."""
        self._suspicions[voter] = view

    def ask(self, change: ViewChange) -> None:
        """Count a checked VIEW-CHANGE."""
        self._changes[change.voter] = change

    def view_after_suspicions(self, view: int) -> int | None:
        """A weak quorum suspects `view` or later, so an honest one waits in vain: the view to ask for."""
        views = {voter: one for voter, one in self._suspicions.items() if one >= view}
        if not self._members.is_weak_quorum(self._members.power_of(frozenset(views))):
            return None
        return min(views.values()) + 1

    def view_to_join(self, view: int) -> int | None:
        """A weak quorum asks for views above `view`: the smallest of them."""
        views = {voter: one.view for voter, one in self._changes.items() if one.view > view}
        if not self._members.is_weak_quorum(self._members.power_of(frozenset(views))):
            return None
        return min(views.values())

    def quorum_for(self, view: int) -> tuple[ViewChange, ...] | None:
        """The VIEW-CHANGEs for exactly this view, once they are a quorum; in the order of voters."""
        asked = tuple(one for _, one in sorted(self._changes.items()) if one.view == view)
        power = self._members.power_of(frozenset(one.voter for one in asked))
        return asked if self._members.is_quorum(power) else None

    def is_overdue(self, view: int) -> bool:
        """Whether a quorum has given up all views below `view`, though maybe for different ones."""
        voters = frozenset(voter for voter, one in self._changes.items() if one.view >= view)
        return self._members.is_quorum(self._members.power_of(voters))

    def named(self, view: int) -> tuple[tuple[Digest, ViewChange], ...]:
        """The VIEW-CHANGEs for exactly this view by name; each is hashed once."""
        asked = [one for _, one in sorted(self._changes.items()) if one.view == view]
        for change in asked:
            known = self._names.get(change.voter)
            if known is None or known[0] is not change:
                self._names[change.voter] = (change, change.name)
        return tuple((self._names[one.voter][1], one) for one in asked)

    def change_of(self, voter: bytes) -> ViewChange | None:
        """The VIEW-CHANGE for the highest view that this voter has sent."""
        return self._changes.get(voter)

    def has_suspected(self, voter: bytes) -> bool:
        """Whether this voter has waited in vain since the last block."""
        return voter in self._suspicions

    def forget_suspicions(self) -> None:
        """A block was decided: earlier impatience means nothing now."""
        self._suspicions.clear()

    def forget_up_to(self, view: int) -> None:
        """A view has begun: requests for it and those before are served."""
        self._changes = {voter: one for voter, one in self._changes.items() if one.view > view}
        self._names.clear()

    def check_invariants(self) -> None:
        """What must hold after every event."""
        if self._changes or self._suspicions:
            seats = len(self._members.validators)
            assert len(self._changes) <= seats
            assert len(self._suspicions) <= seats
