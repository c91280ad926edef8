"""What a validator must not forget: its votes and promises, in a database of their own.

Each record is the whole of what binds the replica in one respect, overwritten in place; a batch that carries a vote is
synced before the vote is sent. After a restart the replica takes the records back and stays as bound as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.blocks import Block
from consensus.messages import MOST_WHOLE_CHANGES, NewView, PreparedProof, ViewChange
from consensus.pbft.shared_views import SharedNewView, shared
from gossip.codec import Bytes32, Natural, Wire, decode, encode
from gossip.effects import KeyValueReader, Write

_SHARED = b"\xc1"
"""In front of a NEW-VIEW that is written without repetitions. MessagePack begins nothing with this byte."""

VIEW_KEY, BALLOTS_KEY, PREPARED_KEY, BODY_PREFIX = b"view", b"ballots", b"prepared", b"body/"


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


@dataclass(frozen=True, slots=True)
class VoteLog:
    """All records of one database; None where nothing was written.

    `prepared` is the highest-view prepared block above the last committed one. `bodies` are all blocks that were voted
    for at the height of the last vote: a PREPARE promises to hand its block over, after a restart as well, for a later
    view may be bound to it.
    """

    view: ViewRecord | None = None
    ballots: BallotRecord | None = None
    prepared: PreparedProof | None = None
    bodies: tuple[Block, ...] = ()


def view_write(record: ViewRecord) -> Write:
    """The write of a view record."""
    entered = record.entered
    if entered is None or len(entered.view_changes) <= MOST_WHOLE_CHANGES:
        return VIEW_KEY, encode(record)
    return VIEW_KEY, _SHARED + encode(shared(entered))


def read_view(raw: bytes) -> ViewRecord:
    """A view record as it was written. Raises `DecodeError`."""
    if not raw.startswith(_SHARED):
        return decode(raw, ViewRecord)
    entered = decode(raw[len(_SHARED) :], SharedNewView).whole()
    return ViewRecord(entered.epoch, entered.view, entered, None)


def ballot_write(record: BallotRecord) -> Write:
    """The write of a ballot record."""
    return BALLOTS_KEY, encode(record)


def prepared_write(proof: PreparedProof) -> Write:
    """The write of what is prepared."""
    return PREPARED_KEY, encode(proof)


def body_write(block: Block) -> Write:
    """The write of a block that is voted for."""
    return BODY_PREFIX + block.digest, block.raw


def body_deletion(digest: bytes) -> Write:
    """Forget a block of a height that is decided: it is in the chain, or of no use."""
    return BODY_PREFIX + digest, None


def read_body(reader: KeyValueReader, digest: bytes) -> Block | None:
    """A block that was voted for, if it is still kept."""
    raw = reader.get(BODY_PREFIX + digest)
    return None if raw is None else decode(raw, Block)


def load_vote_log(reader: KeyValueReader) -> VoteLog:
    """Read all records back. Raises `DecodeError` if one is damaged: then the replica must not vote."""
    view, ballots = reader.get(VIEW_KEY), reader.get(BALLOTS_KEY)
    prepared = reader.get(PREPARED_KEY)
    return VoteLog(
        None if view is None else read_view(view),
        None if ballots is None else decode(ballots, BallotRecord),
        None if prepared is None else decode(prepared, PreparedProof),
        tuple(decode(body, Block) for _, body in reader.scan(BODY_PREFIX)),
    )
