"""A proposal names transactions; what this replica lacks of them is fetched before it votes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from consensus.blocks import Block
from consensus.messages import Proposal
from consensus.operations.transactions import Transaction
from gossip.identity import NodeId

FETCH_TIMER = "fetch"
FIRST_FETCH_MS = 20
"""What is on its way from another node usually comes before this."""


class Gathering:
    """The bodies of one proposal, until they are complete."""

    __slots__ = ("_found", "_lacking", "asked", "is_timed", "peer", "proposal")

    def __init__(self, proposal: Proposal, peer: NodeId) -> None:
        self.proposal, self.peer = proposal, peer
        self._lacking: dict[bytes, None] = dict.fromkeys(proposal.transactions)
        self._found: dict[bytes, Transaction] = {}
        self.is_timed = self.asked = False
        """Whether a timer was set for it, and somebody asked."""

    @property
    def lacking(self) -> tuple[bytes, ...]:
        """Ids without a body, in block order."""
        return tuple(self._lacking)

    def look(self, find: Callable[[bytes], Transaction | None]) -> None:
        """Take what can be found here."""
        here = {name: one for name in self._lacking if (one := find(name)) is not None}
        self._found.update(here)
        if len(here) == len(self._lacking):
            self._lacking.clear()
        else:
            self._lacking = {name: None for name in self._lacking if name not in here}

    def take(self, transactions: Iterable[Transaction]) -> bool:
        """Take what is wanted; whether it is signed is judged with the block. False: none was."""
        lacked = len(self._lacking)
        for one in transactions:
            if one.id in self._lacking:
                del self._lacking[one.id]
                self._found[one.id] = one
        return len(self._lacking) < lacked

    def block(self) -> Block | None:
        """The whole block, once nothing is lacking."""
        if self._lacking:
            return None
        proposal = self.proposal
        return Block.of(proposal.header, tuple([self._found[one] for one in proposal.transactions]))
