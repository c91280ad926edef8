"""What the membership core shows and tells: rows of the peer table, and the news inside `Notify`."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gossip.codec import Digest
from gossip.identity import NodeId
from gossip.membership.messages import Standing
from gossip.membership.records import Capability, SignedRecord


class Liveness(enum.StrEnum):
    """How a peer is, as the detector sees it."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class PeerEntry:
    """One row of the peer table.

    `role` is the ledger's word ("validator", "observer"), None while it has none. `last_seen_ms` is
    None for a peer known only by hearsay. `rtt_ms` and `clock_offset_ms` (its clock minus ours) are
    None until it has answered a ping. `found` are the addresses where it was found, the last one
    first, each with when that was (ms; 0 before such times were kept). `in_reach` is whether it is
    connected, or is dialed when it is needed.
    """

    node_id: NodeId
    name: str
    addresses: tuple[str, ...]
    capabilities: tuple[Capability, ...]
    status: Liveness
    role: str | None
    last_seen_ms: int | None
    rtt_ms: int | None
    load: int
    version: str
    connected: bool
    clock_offset_ms: int | None
    found: tuple[tuple[str, int], ...] = ()
    in_reach: bool = False


@dataclass(frozen=True, slots=True)
class Applicant:
    """A node that asked to be let in; nameless until it has shown a record."""

    node_id: NodeId
    name: str
    addresses: tuple[str, ...]
    since_ms: int
    connected: bool


@dataclass(frozen=True, slots=True)
class FederationFound:
    """Only without a genesis: where we asked, there is this federation.

    `genesis` hashes to `federation` and is not looked into. The shell shows both, stores the
    genesis and goes on with a new core that has it.
    """

    genesis: bytes
    federation: Digest
    peer: NodeId
    standing: Standing
    reason: str


@dataclass(frozen=True, slots=True)
class WrongFederation:
    """A peer belongs to `theirs`, not to `ours`; it is disconnected."""

    peer: NodeId
    address: str
    theirs: Digest
    ours: Digest


@dataclass(frozen=True, slots=True)
class BootstrapRefused:
    """An invite given to `AddBootstrap` is no good; `reason` is a sentence for the user."""

    reason: str


@dataclass(frozen=True, slots=True)
class InvitePresented:
    """`node` showed an invite of ours and counts as a member here until it expires.

    The shell submits AdmitObserver(node, invite_id). Told again at each new connection until the
    ledger has admitted it.
    """

    node: NodeId
    invite_id: bytes
    record: SignedRecord | None


@dataclass(frozen=True, slots=True)
class ApplicantArrived:
    """A stranger asks to be let in."""

    applicant: Applicant


@dataclass(frozen=True, slots=True)
class StandingChanged:
    """What `peer` says that we are to it. As an applicant we wait, and `reason` says for what."""

    peer: NodeId
    standing: Standing
    reason: str


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """A peer of the table is now `after`; `before` is None for one that is new in it."""

    node: NodeId
    name: str
    before: Liveness | None
    after: Liveness


Notice = (
    FederationFound
    | WrongFederation
    | BootstrapRefused
    | InvitePresented
    | ApplicantArrived
    | StandingChanged
    | StatusChanged
)
