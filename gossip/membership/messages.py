"""What nodes say to each other on the membership channel.

A node that is not admitted may say `Hello`, `Welcome`, `Ping` and `Pong`; all else from it is
refused. Every message fits the frame that its receiver allows: a stranger's `Hello` 16 KiB, a
member's `Records` 4 MiB.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from gossip.codec import Bytes32, Digest, Natural, Sentence, Wire, digest
from gossip.membership.invites import Invite
from gossip.membership.records import SignedRecord

MAX_GENESIS_BYTES = 256 * 1024
MAX_RECORDS = 256
MAX_KNOWN = 2048

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


class Ping(Wire, frozen=True, tag="ping"):
    """A question whether the receiver is there."""

    nonce: Natural


class Pong(Wire, frozen=True, tag="pong"):
    """The answer (same nonce); `now_ms` is what the sender's clock shows."""

    nonce: Natural
    now_ms: Natural


class Leave(Wire, frozen=True, tag="leave"):
    """The sender stops on purpose; its last record has `seq`."""

    seq: Natural


MembershipMessage = Hello | Welcome | Records | FetchRecords | Ping | Pong | Leave


def federation_of(genesis: bytes) -> Digest:
    """The id of the federation that these canonical genesis bytes found."""
    return digest(b"genesis", genesis)
