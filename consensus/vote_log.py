"""What a validator must not forget: its votes and promises, in a database of their own.

Each record is the whole of what binds the replica in one respect, overwritten in place; a batch that carries a vote is
synced before the vote is sent. After a restart the replica takes the records back and stays as bound as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.blocks import Block
from consensus.messages import NewView, PreparedProof, ViewChange
from gossip.codec import Bytes32, Natural, Wire, decode, encode
from gossip.effects import KeyValueReader, Write

_VIEW, _BALLOTS, _PREPARED, _PROPOSED = b"view", b"ballots", b"prepared", b"proposed"


class ViewRecord(Wire, frozen=True):
    """The lowest view it may still vote in. `entered` proves the view began; `promised` asks for it."""

    epoch: Natural
    view: Natural
    entered: NewView | None
    promised: ViewChange | None


class BallotRecord(Wire, frozen=True):
    """The digests it voted for at one height in one view."""

    epoch: Natural
    view: Natural
    height: Natural
    prepare: Bytes32 | None
    commit: Bytes32 | None


class PreparedRecord(Wire, frozen=True):
    """The highest-view prepared block above the last committed one, with its body."""

    proof: PreparedProof
    block: Block


@dataclass(frozen=True, slots=True)
class VoteLog:
    """All records of one database; None where nothing was written."""

    view: ViewRecord | None = None
    ballots: BallotRecord | None = None
    prepared: PreparedRecord | None = None
    proposed: Block | None = None


def view_write(record: ViewRecord) -> Write:
    """The write of a view record."""
    return _VIEW, encode(record)


def ballot_write(record: BallotRecord) -> Write:
    """The write of a ballot record."""
    return _BALLOTS, encode(record)


def prepared_write(record: PreparedRecord) -> Write:
    """The write of a prepared record."""
    return _PREPARED, encode(record)


def proposed_write(block: Block) -> Write:
    """The write of the body of an own proposal, so that it can be sent again after a restart."""
    return _PROPOSED, encode(block)


def load_vote_log(reader: KeyValueReader) -> VoteLog:
    """Read all records back. Raises `DecodeError` if one is damaged: then the replica must not vote."""
    view, ballots = reader.get(_VIEW), reader.get(_BALLOTS)
    prepared, proposed = reader.get(_PREPARED), reader.get(_PROPOSED)
    return VoteLog(
        None if view is None else decode(view, ViewRecord),
        None if ballots is None else decode(ballots, BallotRecord),
        None if prepared is None else decode(prepared, PreparedRecord),
        None if proposed is None else decode(proposed, Block),
    )
