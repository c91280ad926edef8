"""The one door through which bytes reach other nodes and come back from them.

Everything above this package speaks of peers by `NodeId` and of bytes by channel; nothing above it
knows that libp2p exists. A transport offers two ways to talk:

* **frames**: one long-lived stream per peer and direction carries small messages of every
  protocol, each with a one-byte channel number. `Transport.send` never waits: it puts the frame
  into the peer's bounded queue or says no. What waits is written in one go, urgent frames first;
  within one class of urgency order is kept.
* **streams**: a stream of its own for a request with its reply, a file, or an answer token by
  token. Here the sender does wait: the receiver's window holds it back.

What arrives is told by `Transport.events`, for each peer in this order: `PeerUp`, any number of
`Frame`, `PeerDown`. Frames can be lost only where the caller can see it: `send` returned False, or
`PeerDown` came. A peer that connects twice (both dialed at once) is one peer all the same.

Identity is proven before `PeerUp`: `peer` is the Ed25519 key that the other side has shown to
hold. Admission is not decided here. Whoever knows the members passes a `limits` function in, and a
transport asks it anew for every batch that arrives, so that a stranger's tiny budget grows in the
moment in which it is admitted.

A peer's bytes never raise out of a transport. Whoever breaks framing or ignores a limit is
disconnected, with the reason in `PeerDown`. Whoever sends faster than its rate is read more
slowly, and its own window stops it.

Read next, from the wire up. Pure: `framing` and `yamux`, bytes to frames and to streams.
`repairs`, what is taken from py-libp2p and why no more, then `upgrade` and `muxer`, a socket made
into a connection. `inbox` and `outbox`, the bounded queues. `link` and `links`, connections made
into peers; `libp2p`, the whole. `memory` is the twin used in tests.

This module imports neither libp2p nor an adapter, so that the simulator can use its names.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import trio

from gossip.identity import NodeId
from gossip.transport.peer_id import node_id_from_peer_id, peer_id_from_node_id

if TYPE_CHECKING:
    # libp2p brings `trio-stubs`, older than trio's own annotations, and type checkers prefer them.
    from trio_typing import TaskStatus

__all__ = [
    "MEMBER_LIMITS",
    "STRANGER_LIMITS",
    "USUAL_WINDOW_BYTES",
    "DialError",
    "DialFailure",
    "Events",
    "Frame",
    "Limits",
    "ListenError",
    "PeerDown",
    "PeerLimits",
    "PeerStats",
    "PeerUp",
    "Stream",
    "StreamError",
    "StreamHandler",
    "Totals",
    "Transport",
    "TransportError",
    "TransportEvent",
    "TurnedAway",
    "node_id_from_peer_id",
    "peer_id_from_node_id",
]


@dataclass(frozen=True, slots=True)
class PeerUp:
    """From now on `send` to this peer works.

    `address` is where it was dialed, or where it came from.
    """

    peer: NodeId
    address: str
    outbound: bool


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The peer is gone, with what was queued for it. `reason` is one sentence for a person."""

    peer: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One message as it came, not yet decoded or judged. `channel` is 0 to 255."""

    peer: NodeId
    channel: int
    payload: bytes


TransportEvent = PeerUp | PeerDown | Frame


@dataclass(frozen=True, slots=True)
class PeerLimits:
    """What one peer may cost this node.

    `max_frame_bytes` bounds the payload of a frame and of a message on a stream; 0 refuses the peer
    altogether: it may then use libp2p's identify and ping, and nothing of ours. `bytes_per_s` is
    the rate at which its frames are read, averaged over a bucket of `burst_bytes` (at least one
    full frame). `max_streams` bounds the streams that it may have open to our handlers; 0 does not
    even name them to it.
    """

    max_frame_bytes: int
    bytes_per_s: int
    burst_bytes: int
    max_streams: int


MEMBER_LIMITS = PeerLimits(
    max_frame_bytes=4 * 2**20, bytes_per_s=64 * 2**20, burst_bytes=16 * 2**20, max_streams=64
)
STRANGER_LIMITS = PeerLimits(
    max_frame_bytes=16 * 2**10, bytes_per_s=32 * 2**10, burst_bytes=64 * 2**10, max_streams=0
)

USUAL_WINDOW_BYTES = 256 * 2**10
"""How much of a stream may be under way or wait unread; so many bytes a round trip pass at most."""

Limits = Callable[[NodeId], PeerLimits]
"""Asked for every batch that arrives, so it must be a look-up, and must not raise."""


@dataclass(frozen=True, slots=True)
class PeerStats:
    """Counters of one connected peer since its `PeerUp`, and what it takes up now. Bytes are those of payloads.

    `queued_bytes` wait to be sent to it. `unread_bytes` came from it and wait here: frames for whoever reads
    the events, bytes of streams for their handlers, and halves of both. `streams` are open on its connection,
    those of the frames among them.
    """

    address: str
    outbound: bool
    frames_in: int
    bytes_in: int
    frames_out: int
    bytes_out: int
    frames_dropped: int
    queued_frames: int
    queued_bytes: int
    unread_bytes: int
    streams: int
    round_trip_ms: float | None

    @property
    def memory_bytes(self) -> int:
        """What is kept for it in buffers, in both directions."""
        return self.queued_bytes + self.unread_bytes


class TurnedAway(enum.StrEnum):
    """Why somebody who connected was shown out, or a stream of his refused."""

    CUT = "cut off in the handshake"
    GARBAGE = "no negotiation"
    UNPROVEN = "no proof of identity"
    TOO_SLOW = "too slow in the handshake"
    NO_ROOM = "no room"
    BROKEN = "broken protocol"
    STREAM = "bad stream"


@dataclass(frozen=True, slots=True)
class Totals:
    """All connections together, those of strangers that are no peers among them.

    `memory_bytes` is what their buffers hold now; `turned_away` counts since the start.
    """

    connections: int
    memory_bytes: int
    turned_away: Mapping[TurnedAway, int]


class TransportError(Exception):
    """The environment failed.

    The text is one sentence for a person, with what to do where that is known.
    """


class ListenError(TransportError):
    """An address to listen on is malformed, not ours, or in use."""


class DialFailure(enum.StrEnum):
    """Why a dial failed, for a caller that decides whether to try again."""

    BAD_ADDRESS = "bad address"
    SELF = "own address"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    WRONG_IDENTITY = "wrong identity"
    NOT_A_NODE = "not a node"


class DialError(TransportError):
    """A dial failed; nothing is left of it, and the same address may be dialed again at once."""

    def __init__(self, failure: DialFailure, sentence: str) -> None:
        super().__init__(sentence)
        self.failure = failure


class StreamError(TransportError):
    """A stream was not opened or was cut: peer gone, not served, message too large, time over."""


class Stream(Protocol):
    """Messages both ways with one peer, in order. One task may send while another receives.

    As a context manager it ends with `close` and, if the other side has not ended too, with
    `reset`; after an exception or a cancellation it ends with `reset`.
    """

    @property
    def peer(self) -> NodeId:
        """Whose key the other side has shown to hold."""

    async def send(self, message: bytes) -> None:
        """Return when the message is on its way; wait while the receiver's window is full.

        Raises `StreamError`. Cancelling it resets the stream, since half a message may have left.
        """

    async def receive(self) -> bytes | None:
        """The next message, or None when the other side has ended properly.

        Raises `StreamError` if it was cut.
        """

    async def close(self) -> None:
        """End our side: the other one receives what was sent, then None. Receiving goes on."""

    async def reset(self) -> None:
        """Throw the stream away in both directions. Never raises.

        May be called at any time, and twice.
        """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


StreamHandler = Callable[[NodeId, Stream], Awaitable[None]]
"""Serves one stream: closed when it returns, reset when it raises, with the error logged.

It is cancelled when the peer goes.
"""


class Events(Protocol):
    """The arriving end of a transport: bounded queues of the peers, served in turn, with any number of readers.

    Who does not read it holds the peers back. It ends (`async for` stops, `receive` raises
    `trio.EndOfChannel`) when the transport has stopped.
    """

    async def receive(self) -> TransportEvent: ...

    def receive_nowait(self) -> TransportEvent:
        """The next event, or `trio.WouldBlock` when nothing waits.

        To drain a batch: `receive` once, then this until it raises.
        """

    def attend(self, take: Callable[[Frame], bool]) -> None:
        """Offer frames to `take` on the spot, while nothing waits and a reader does: that saves a change of tasks.

        What it declines, with False, waits for the reader. It must not raise. For the only reader.
        """

    def hold(self, peer: NodeId, seconds: float) -> None:
        """Give out no frame of this peer for so long; what it sends meanwhile waits, and then it does."""

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> TransportEvent: ...


class Transport(Protocol):
    """What a node needs of a network.

    Made with its key, its listen addresses and a `Limits` function.
    """

    @property
    def node_id(self) -> NodeId:
        """Our own key."""

    @property
    def events(self) -> Events:
        """What happens, in order."""

    def addresses(self) -> tuple[str, ...]:
        """Multiaddrs that another machine can dial, each ending in /p2p/PEERID.

        Empty before `run` has started. An unspecified listen address (0.0.0.0) is replaced by those
        of the interfaces, loopback last.
        """

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and serve until cancelled; `started` when dialable. Raises `ListenError`.

        Runs once.
        """

    async def dial(self, address: str) -> NodeId:
        """Connect to a multiaddr and return after its `PeerUp` was queued. Raises `DialError`.

        With a /p2p/PEERID part, nobody else is accepted. A peer that is connected already is
        returned as it is.
        """

    @property
    def together(self) -> AbstractContextManager[None]:
        """What is sent inside leaves at the end of it, for all peers at once; may be entered again and again.

        Nothing may be awaited inside. What is sent elsewhere leaves at the next turn of the loop.
        """

    def send(self, peer: NodeId, channel: int, payload: bytes, *, urgent: bool = False) -> bool:
        """Queue one frame; never waits.

        False, and counted, if the peer is not connected or its queue is full.
        """

    async def flushed(self) -> None:
        """Return when all frames sent so far have left this node.

        For whoever stops next. Bounded by the caller: a peer that takes nothing is waited for.
        """

    async def disconnect(self, peer: NodeId, reason: str) -> None:
        """Drop the peer, frozen or not. Returns after its `PeerDown`.

        Without effect if it is not connected.
        """

    def peers(self) -> frozenset[NodeId]:
        """Who is connected: between `PeerUp` and `PeerDown`."""

    def stats(self) -> dict[NodeId, PeerStats]:
        """A snapshot for each connected peer."""

    def totals(self) -> Totals:
        """What all connections take up, and who was shown out."""

    async def open_stream(
        self, peer: NodeId, protocol: str, *, window_bytes: int = USUAL_WINDOW_BYTES
    ) -> Stream:
        """Open a stream to a connected peer's handler of `protocol` ("/bizra/NAME/1").

        `window_bytes` is how much of the answer may be under way or wait unread.

        Raises `StreamError`.
        """

    def serve(self, protocol: str, handler: StreamHandler) -> None:
        """Answer `protocol` from now on, with a task for each stream.

        A second handler for a protocol is a bug.
        """
