"""Who counts as what here: the one place that answers whether a node is a member.

That is for the ledger to say, with two exceptions that end with its word: who has shown an invite
of ours is let in at once, and while the ledger does not know this node itself as admitted, the
peers that the user told us to join by are believed.
"""

from __future__ import annotations

from collections.abc import Callable

from gossip.effects import KeyValueReader
from gossip.identity import NodeId
from gossip.membership.applicants import Applicants
from gossip.membership.dialer import Dialer
from gossip.membership.introductions import Introductions
from gossip.membership.links import Links
from gossip.membership.used_invites import UsedInvites

Admitted = Callable[[NodeId], str | None]
"""The ledger's word on a node: its role, or None. Asked often, so it must be a look-up."""


class Gate:
    """Judges by the state that it holds, at `now_ms`, the time of the event in hand.

    `has_home` is whether this node has a federation.
    """

    def __init__(
        self,
        node: NodeId,
        admitted: Admitted,
        store: KeyValueReader,
        jitter: Callable[[], float],
        *,
        has_home: bool,
    ) -> None:
        self.node = node
        self.admitted = admitted
        self.has_home = has_home
        self.now_ms = 0
        self.jitter = jitter
        self.links = Links()
        self.dialer = Dialer(node, jitter)
        self.applicants = Applicants()
        self.used_invites = UsedInvites(store)
        self.introductions = Introductions(store)

    @property
    def is_joining(self) -> bool:
        """Whether our own ledger does not know us as admitted, and so may not know the others."""
        return self.admitted(self.node) is None

    def is_let_in(self, node: NodeId) -> bool:
        """What a member can conclude by itself."""
        if self.admitted(node) is not None:
            return True
        return self.used_invites.invite_of(self.now_ms, node) is not None

    def is_member(self, peer: NodeId) -> bool:
        """Whether a connected peer may use what only members may use."""
        if not self.has_home:
            link = self.links.get(peer)
            return self.dialer.is_host(peer) or (link is not None and link.outbound)
        return self.is_let_in(peer) or (self.is_joining and self.dialer.is_host(peer))

    def counts(self, node: NodeId) -> bool:
        """Whether another node belongs into the table: while joining we can't tell, and believe."""
        return node != self.node and (self.is_joining or self.is_let_in(node))

    def check_invariants(self) -> None:
        """Bounds hold, and nobody is connected with itself."""
        self.links.check_invariants()
        self.dialer.check_invariants()
        self.applicants.check_invariants()
        self.used_invites.check_invariants()
        assert self.node not in self.links
