"""Who collects votes, and how far that has come at one height: what `collecting.py` must remember about it."""

from __future__ import annotations

from consensus.certificates import Phase
from consensus.faults import Fault
from consensus.quorum import Validator, ValidatorSet
from gossip.effects import Cause
from gossip.identity import NodeId

FEW = 8
"""So many peers hear STATUS in a large set, others each time; and so many are asked for what a quorum holds."""
_WAITS = 4
TO_ALL = 2
"""The stage at which everybody gets the own votes: after both collectors."""


UNSEATED = Fault(Cause.NOT_ENTITLED, "collected votes from somebody without a seat")
TWICE_BAD = Fault(Cause.TOO_OFTEN, "collected votes from a peer whose last ones did not hold")
UNMATCHED = Fault(Cause.MALFORMED, "collected votes: voters and signatures do not match")


class Collection:
    """The own votes' way in the view at hand, and whom a collector has served."""

    __slots__ = ("answered", "distrusted", "handed_out", "stage")

    def __init__(self) -> None:
        self.stage = 0
        """So many collectors have kept this replica waiting."""
        self.handed_out: set[Phase] = set()
        self.answered: set[NodeId] = set()
        """Peers that were handed a certificate once more."""
        self.distrusted: set[NodeId] = set()
        """Peers that have handed over a certificate that does not hold."""

    def leave_view(self) -> None:
        """Other collectors, other votes."""
        self.stage = 0
        self.handed_out.clear()


class Patience:
    """How long to wait for collectors: twice as long as they have needed lately, within bounds.

    Otherwise votes over a distance would go to all each time, just before the certificate comes.
    """

    __slots__ = ("_least_ms", "_needed_ms", "_sent")

    def __init__(self, least_ms: int) -> None:
        self._least_ms, self._needed_ms = least_ms, 0
        self._sent: dict[tuple[Phase, int, int], int] = {}

    def begin(self, now_ms: int, phase: Phase, view: int, height: int) -> None:
        """A vote leaves."""
        self._sent[phase, view, height] = now_ms
        if len(self._sent) > _WAITS:
            del self._sent[next(iter(self._sent))]

    def end(self, now_ms: int, phase: Phase, view: int, height: int) -> None:
        """Its certificate has come from the first collector, in time or not. What it needs less is learned slowly."""
        since_ms = self._sent.pop((phase, view, height), None)
        if since_ms is not None:
            wait_ms = max(0, now_ms - since_ms)
            self._needed_ms = max(wait_ms, (7 * self._needed_ms + wait_ms) // 8)

    def wait_ms(self, most_ms: int) -> int:
        """The time to wait now."""
        return max(self._least_ms, min(2 * self._needed_ms, most_ms))


def collectors(members: ValidatorSet, view: int, height: int) -> tuple[Validator, ...]:
    """Who gathers the votes of a height in a view: the leader, then one other, which changes with the height."""
    leader, seats = members.leader(view, height), members.validators
    if len(seats) == 1:
        return (leader,)
    place = members.seat_of(leader.voting_key)
    return leader, seats[(place + 1 + height % (len(seats) - 1)) % len(seats)]


def few_of(nodes: tuple[NodeId, ...], turn: int) -> tuple[NodeId, ...]:
    """A few of many nodes; with one turn after the other, all of them."""
    if len(nodes) <= FEW:
        return nodes
    begin = turn * FEW % len(nodes)
    return (nodes + nodes)[begin : begin + FEW]
