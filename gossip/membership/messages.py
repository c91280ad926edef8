"""What nodes say to each other on the membership channel.

A node that is not admitted may say `Hello`, `Welcome`, `Ping` and `Pong`; all else from it is
refused. Every message fits the frame that its receiver allows: a stranger's `Hello` 16 KiB, a
member's `Records` 4 MiB.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Annotated

import msgspec

from gossip.codec import Bytes32, Bytes64, Digest, Natural, Sentence, Wire, digest
from gossip.identity import NodeId
from gossip.membership.invites import Invite
from gossip.membership.records import SignedRecord
from gossip.membership.suspicions import Life, Suspicion
from gossip.membership.voices import FetchVoices, Salt, Tags, Voices

MAX_GENESIS_BYTES = 256 * 1024
MAX_RECORDS = 256
MAX_KNOWN = 2048
MAX_RUMOURS = 1024
MAX_NAMED = 64
NAMES_BYTES = 8

Names = Annotated[bytes, msgspec.Meta(min_length=NAMES_BYTES, max_length=NAMES_BYTES)]
GenesisBytes = Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_GENESIS_BYTES)]


class Standing(enum.Enum):
    """What one node is to another."""

    MEMBER = "member"
    APPLICANT = "applicant"


class Hello(Wire, frozen=True, tag="hello"):
    """The first word on a connection, from both sides.

    `federation` is None while the sender looks for one; the answer then brings the genesis. The
    record is there whenever the federation is. `invite` is shown to its issuer only.
    """

    federation: Bytes32 | None
    record: SignedRecord | None
    invite: Invite | None
    nonce: Natural


class Welcome(Wire, frozen=True, tag="welcome"):
    """The answer to a `Hello` (same nonce), sent again when the standing changes.

    `standing` is what the receiver is to the sender, `reason` why it is no more than that.
    `genesis` is there if the `Hello` named no federation; its hash is `federation`.
    """

    federation: Bytes32
    genesis: GenesisBytes | None
    record: SignedRecord
    standing: Standing
    reason: Sentence
    nonce: Natural


class Records(Wire, frozen=True, tag="records"):
    """Records that the receiver may lack, its own perhaps among them."""

    records: Annotated[tuple[SignedRecord, ...], msgspec.Meta(max_length=MAX_RECORDS)]


class Known(Wire, frozen=True):
    """Up to which `seq` the sender knows a node."""

    node: Bytes32
    seq: Natural


class FetchRecords(Wire, frozen=True, tag="fetch_records"):
    """A wish for `Records` that are newer than these."""

    known: Annotated[tuple[Known, ...], msgspec.Meta(max_length=MAX_KNOWN)]


class FetchSince(Wire, frozen=True, tag="fetch_since"):
    """`FetchRecords` in short, since nearly always two members know of the same nodes.

    The sender and all that it knows of have `names`; `seqs` are their numbers, in the order of the ids.
    """

    names: Names
    seqs: Annotated[tuple[Natural, ...], msgspec.Meta(max_length=MAX_KNOWN)]


class NamesDiffer(Wire, frozen=True, tag="names_differ"):
    """The answer to a `FetchSince` of who knows of other nodes than its sender: a wish for it in full."""


class FetchRecordsOf(Wire, frozen=True, tag="fetch_records_of"):
    """A wish for the newest `Records` of these nodes."""

    nodes: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=MAX_NAMED)]


class Ping(Wire, frozen=True, tag="ping"):
    """A question whether the receiver is there."""

    nonce: Natural


class Pong(Wire, frozen=True, tag="pong"):
    """The answer (same nonce); `now_ms` is what the sender's clock shows.

    `dead` is how many members have been dead to the sender for a while; to strangers it says 0.
    """

    nonce: Natural
    now_ms: Natural
    dead: Natural


class Leave(Wire, frozen=True, tag="leave"):
    """`node` stops on purpose; its last record has `seq`. Passed on where not all are connected."""

    node: Bytes32
    seq: Natural
    signature: Bytes64


class Spare(Wire, frozen=True, tag="spare"):
    """The sender can do without this connection: the receiver ends it, unless it needs it itself.

    With `full` the sender has no room for it, and ends it soon.
    """

    full: bool


class ProbeFor(Wire, frozen=True, tag="probe_for"):
    """A wish that the receiver asks `node`, which does not answer the sender."""

    node: Bytes32
    nonce: Natural


class Heeded(Wire, frozen=True, tag="heeded"):
    """The receiver's `ProbeFor` has come: whoever gets none of these is ill itself."""

    nonce: Natural


class Challenge(Wire, frozen=True, tag="challenge"):
    """A question for `asker` whether the receiver is there."""

    asker: Bytes32
    nonce: Natural


class Proof(Wire, frozen=True, tag="proof"):
    """The answer of `node` to a `Challenge`, passed on to `asker` by who brought the question."""

    node: Bytes32
    asker: Bytes32
    nonce: Natural
    signature: Bytes64


class Rumours(Wire, frozen=True, tag="rumours"):
    """Who is suspected by whom, and who has answered that."""

    suspicions: Annotated[tuple[Suspicion, ...], msgspec.Meta(max_length=MAX_RUMOURS)]
    lives: Annotated[tuple[Life, ...], msgspec.Meta(max_length=MAX_RUMOURS)]


class FetchDeaths(Wire, frozen=True, tag="fetch_deaths"):
    """A wish for the receiver's suspicions of those that are dead to it, other than the `known` accused."""

    salt: Salt
    known: Tags


DetectionMessage = (
    ProbeFor | Heeded | Challenge | Proof | Rumours | FetchVoices | Voices | FetchDeaths
)

MembershipMessage = (
    Hello
    | Welcome
    | Records
    | FetchRecords
    | FetchSince
    | NamesDiffer
    | FetchRecordsOf
    | Ping
    | Pong
    | Leave
    | Spare
    | DetectionMessage
)


def names_of(nodes: Iterable[NodeId]) -> bytes:
    """What stands for exactly these nodes, given in the order of their ids."""
    return digest(b"names", b"".join(nodes))[:NAMES_BYTES]


def federation_of(genesis: bytes) -> Digest:
    """The id of the federation that these canonical genesis bytes found."""
    return digest(b"genesis", genesis)
