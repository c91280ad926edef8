"""Why a message is refused: one of a few causes, which are counted, and a sentence for whoever reads the log."""

from __future__ import annotations

from typing import NamedTuple

from gossip.effects import Cause, Rejected
from gossip.identity import NodeId


class Fault(NamedTuple):
    """What is wrong with a peer's message."""

    cause: Cause
    reason: str

    def of(self, peer: NodeId) -> Rejected:
        """The refusal of what this peer brought."""
        return Rejected(peer, self.reason, self.cause)


OVER = Fault(Cause.STALE, "it is about a height or view that is over")
KNOWN = Fault(Cause.KNOWN, "it says nothing that is not known here")
FAR_AHEAD = Fault(Cause.EARLY, "it is about a height or view too far ahead to be kept")
OTHER_EPOCH = Fault(Cause.WRONG_EPOCH, "it is of another epoch")
PUSHED_OUT = Fault(Cause.EARLY, "more came ahead of its time than is kept of one peer")
UNASKED = Fault(Cause.UNASKED, "nobody here waits for that answer")
NOT_HERE = Fault(Cause.NOT_HERE, "it asks for what is not here, or not any more")


def unsound(reason: str) -> Fault:
    """What is in place and signed, and does not hold."""
    return Fault(Cause.UNSOUND, reason)


def forged(what: str) -> Fault:
    """A signature that does not hold."""
    return Fault(Cause.SIGNATURE, f"the signature of the {what} does not hold")


def seatless(what: str) -> Fault:
    """Signed by a key that has no seat."""
    return Fault(Cause.NOT_ENTITLED, f"{what} by no validator of this epoch")
