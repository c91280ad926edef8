"""What the membership core is told, and the two things it asks for beside `gossip.effects`.

The shell owes one answer to each `Dial`: `Dialed` or `DialFailed`. A core that takes the place of
another is told `Started`, then `PeerUp` for each peer that is connected already.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossip.effects import Effect
from gossip.identity import NodeId
from gossip.membership.invites import Invite
from gossip.membership.messages import MembershipMessage
from gossip.membership.records import Capability


@dataclass(frozen=True, slots=True)
class Started:
    """The node is up. First event of a core."""


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A peer is connected, its identity proven by the transport."""

    peer: NodeId
    address: str
    outbound: bool


@dataclass(frozen=True, slots=True)
class PeerDown:
    """A peer is connected no more."""

    peer: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Received:
    """A decoded message from a connected peer, admitted or not."""

    peer: NodeId
    message: MembershipMessage


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer set by an effect ran out."""

    name: str


@dataclass(frozen=True, slots=True)
class Dialed:
    """A `Dial` of exactly this address came to this peer, newly connected or connected already."""

    address: str
    peer: NodeId


@dataclass(frozen=True, slots=True)
class DialFailed:
    """A `Dial` of exactly this address failed. `reason` is one sentence for a person."""

    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class AdmissionChanged:
    """The ledger's answer for these nodes has changed; to be told after the block's batch."""

    nodes: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class CapabilitiesChanged:
    """What this node can do, or how busy it is (`load` per mille), has changed."""

    capabilities: tuple[Capability, ...]
    load: int


@dataclass(frozen=True, slots=True)
class AddressesChanged:
    """Where this node can be dialed has changed."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AddBootstrap:
    """Join by this: multiaddrs, an invite (whose addresses need not be repeated), or both."""

    addresses: tuple[str, ...] = ()
    invite: Invite | None = None


@dataclass(frozen=True, slots=True)
class Needed:
    """A connection with this member is needed for the next half minute."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Leaving:
    """The node is about to stop on purpose: say good-bye. Last event of a core."""


MembershipEvent = (
    Started
    | PeerUp
    | PeerDown
    | Received
    | TimerFired
    | Dialed
    | DialFailed
    | AdmissionChanged
    | CapabilitiesChanged
    | AddressesChanged
    | AddBootstrap
    | Needed
    | Leaving
)


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to this multiaddr, and answer with `Dialed` or `DialFailed`."""

    address: str


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Drop this peer. `reason` is one sentence for a person."""

    peer: NodeId
    reason: str


MembershipEffect = Effect | Dial | Disconnect
