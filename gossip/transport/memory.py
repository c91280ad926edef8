"""The transport's twin for tests: no sockets, no keys proven, the same promises.

Transports made by one `MemoryNetwork` dial each other by addresses like /memory/NUMBER/p2p/PEERID.
Frames wait in the same bounded outboxes and arrive in the same bounded inboxes; a task per peer and
direction moves them, so that order, urgency, full queues and back-pressure are as in `libp2p`.
Rates aren't held.
"""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

import structlog
import trio

from gossip.identity import NodeId
from gossip.transport import (
    USUAL_WINDOW_BYTES,
    DialError,
    DialFailure,
    Frame,
    Limits,
    ListenError,
    PeerDown,
    PeerStats,
    PeerUp,
    StreamError,
    StreamHandler,
    Totals,
    node_id_from_peer_id,
    peer_id_from_node_id,
)
from gossip.transport.framing import FrameDecoder
from gossip.transport.inbox import Inbox
from gossip.transport.outbox import Outbox, OutboxBounds

if TYPE_CHECKING:
    from trio_typing import TaskStatus

_OUTBOX_BOUNDS = OutboxBounds()

_log = structlog.get_logger()


class MemoryNetwork:
    """A place where transports find each other."""

    def __init__(self) -> None:
        self._nodes: dict[str, MemoryTransport] = {}
        self._next_number = 1

    def join(
        self, node_id: NodeId, limits: Limits, *, outbox: OutboxBounds = _OUTBOX_BOUNDS
    ) -> MemoryTransport:
        """Make a transport; it can be dialed while it runs."""
        transport = MemoryTransport(self, f"/memory/{self._next_number}", node_id, limits, outbox)
        self._next_number += 1
        return transport

    def enter(self, place: str, transport: MemoryTransport) -> None:
        """Note that it runs."""
        if place in self._nodes:
            raise ListenError(f"{place} is in use")
        self._nodes[place] = transport

    def leave(self, place: str) -> None:
        """Note that it has stopped."""
        del self._nodes[place]

    def find(self, address: str) -> MemoryTransport:
        """Who listens at a multiaddr. Raises `DialError`."""
        parts = address.split("/")
        if parts[:2] != ["", "memory"] or len(parts) not in (3, 5):
            raise DialError(DialFailure.BAD_ADDRESS, f"{address[:400]!r} is not a memory address")
        node = self._nodes.get("/".join(parts[:3]))
        if node is None:
            raise DialError(DialFailure.REFUSED, f"nobody listens at {address}")
        if parts[3:]:
            try:
                expected = node_id_from_peer_id(parts[4])
            except ValueError as error:
                raise DialError(DialFailure.BAD_ADDRESS, f"can't dial: {error}") from None
            if expected != node.node_id:
                found = peer_id_from_node_id(node.node_id)
                raise DialError(
                    DialFailure.WRONG_IDENTITY, f"{address} was answered by another node, {found}"
                )
        return node


class _Half:
    """What one node keeps of a connection."""

    def __init__(self, other: MemoryTransport, *, outbound: bool, bounds: OutboxBounds) -> None:
        self.other = other
        self.outbound = outbound
        self.outbox = Outbox(bounds)
        self.scope = trio.CancelScope()
        self.streams: WeakSet[MemoryStream] = WeakSet()
        self.handlers: set[trio.CancelScope] = set()
        self.served_streams = 0
        self.frames_in = 0
        self.bytes_in = 0

    @property
    def unread_bytes(self) -> int:
        """What has come on its streams and was not received."""
        return sum(stream.unread_bytes for stream in self.streams)


class MemoryTransport:
    """See `gossip.transport.Transport`. Made by `MemoryNetwork.join`."""

    def __init__(
        self,
        network: MemoryNetwork,
        place: str,
        node_id: NodeId,
        limits: Limits,
        bounds: OutboxBounds,
    ) -> None:
        self._network = network
        self._place = place
        self._node_id = node_id
        self._bounds = bounds
        self._limits = limits
        self._inbox = Inbox()
        self._halves: dict[NodeId, _Half] = {}
        self._handlers: dict[str, StreamHandler] = {}
        self._nursery: trio.Nursery | None = None

    @property
    def node_id(self) -> NodeId:
        """See `Transport.node_id`."""
        return self._node_id

    @property
    def events(self) -> Inbox:
        """See `Transport.events`."""
        return self._inbox

    @property
    def _address(self) -> str:
        return f"{self._place}/p2p/{peer_id_from_node_id(self._node_id)}"

    def addresses(self) -> tuple[str, ...]:
        """See `Transport.addresses`."""
        return () if self._nursery is None else (self._address,)

    def peers(self) -> frozenset[NodeId]:
        """See `Transport.peers`."""
        return frozenset(self._halves)

    def stats(self) -> dict[NodeId, PeerStats]:
        """See `Transport.stats`."""
        return {
            peer: PeerStats(
                address=half.other._address,
                outbound=half.outbound,
                frames_in=half.frames_in,
                bytes_in=half.bytes_in,
                frames_out=half.outbox.sent_frames,
                bytes_out=half.outbox.sent_bytes,
                frames_dropped=half.outbox.dropped_frames,
                queued_frames=half.outbox.queued_frames,
                queued_bytes=half.outbox.queued_bytes,
                unread_bytes=self._inbox.used_by(peer) + half.unread_bytes,
                streams=sum(not stream.is_over for stream in half.streams),
                round_trip_ms=0.0,
            )
            for peer, half in self._halves.items()
        }

    def totals(self) -> Totals:
        """See `Transport.totals`."""
        memory_bytes = sum(stats.memory_bytes for stats in self.stats().values())
        return Totals(len(self._halves), memory_bytes, {})

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See `Transport.run`."""
        assert self._nursery is None, "a transport runs once"
        self._network.enter(self._place, self)
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._network.leave(self._place)
            for peer in list(self._halves):
                self._part(peer, "this node stops")
            self._inbox.close()

    async def dial(self, address: str) -> NodeId:
        """See `Transport.dial`."""
        await trio.lowlevel.checkpoint()
        other = self._network.find(address)
        if other is self:
            raise DialError(DialFailure.SELF, f"{address} is this node itself")
        if other.node_id not in self._halves:
            if not other._limits(self._node_id).max_frame_bytes:
                raise DialError(DialFailure.NOT_A_NODE, f"{address} doesn't admit us")
            self._meet(other, outbound=True)
            other._meet(self, outbound=False)
        return other.node_id

    def _meet(self, other: MemoryTransport, *, outbound: bool) -> None:
        half = _Half(other, outbound=outbound, bounds=self._bounds)
        self._halves[other.node_id] = half
        self._inbox.put_now(PeerUp(other.node_id, other._address, outbound))
        assert self._nursery is not None
        self._nursery.start_soon(self._carry, half)

    async def _carry(self, half: _Half) -> None:
        """Move frames from this outbox to the other inbox."""
        other = half.other
        decoder = FrameDecoder()
        with half.scope:
            while True:
                batch = await half.outbox.take()
                bound_bytes = other._limits(self._node_id).max_frame_bytes
                frames = [
                    Frame(self._node_id, channel, payload)
                    for channel, payload in decoder.feed(batch, bound_bytes)
                ]
                receiving = other._halves.get(self._node_id)
                if receiving is not None:
                    receiving.frames_in += len(frames)
                    receiving.bytes_in += sum(len(frame.payload) for frame in frames)
                await other._inbox.put_frames(frames)
                if decoder.fault is not None:
                    other._part(self._node_id, f"it sent {decoder.fault}")

    def _part(self, peer: NodeId, reason: str, *, told: bool = False) -> None:
        half = self._halves.pop(peer, None)
        if half is None:
            return
        half.scope.cancel()
        for stream in list(half.streams):
            stream.cut("the connection was closed")
        for handler in half.handlers:
            handler.cancel()
        self._inbox.put_now(PeerDown(peer, reason))
        if not told:
            half.other._part(self._node_id, "it closed the connection", told=True)

    @property
    def together(self) -> AbstractContextManager[None]:
        """See `Transport.together`: nothing is gained here."""
        return nullcontext()

    def send(self, peer: NodeId, channel: int, payload: bytes, *, urgent: bool = False) -> bool:
        """See `Transport.send`."""
        half = self._halves.get(peer)
        if half is None or len(payload) > self._limits(peer).max_frame_bytes:
            return False
        return half.outbox.put(channel, payload, urgent=urgent)

    async def flushed(self) -> None:
        """See `Transport.flushed`."""
        for half in list(self._halves.values()):
            await half.outbox.emptied()

    async def disconnect(self, peer: NodeId, reason: str) -> None:
        """See `Transport.disconnect`."""
        await trio.lowlevel.checkpoint()
        self._part(peer, reason)

    def serve(self, protocol: str, handler: StreamHandler) -> None:
        """See `Transport.serve`."""
        assert protocol not in self._handlers, protocol
        self._handlers[protocol] = handler

    async def open_stream(
        self, peer: NodeId, protocol: str, *, window_bytes: int = USUAL_WINDOW_BYTES
    ) -> MemoryStream:
        """See `Transport.open_stream`."""
        await trio.lowlevel.checkpoint()
        half = self._halves.get(peer)
        if half is None:
            raise StreamError("the peer is not connected")
        other = half.other
        serving = other._halves[self._node_id]
        if protocol not in other._handlers:
            raise StreamError(f"no stream for {protocol}: the other side doesn't serve it")
        there, back = _Pipe(), _Pipe(window_bytes)
        ours = MemoryStream(self, peer, back, there)
        theirs = MemoryStream(other, self._node_id, there, back)
        half.streams.add(ours)
        serving.streams.add(theirs)
        assert other._nursery is not None
        other._nursery.start_soon(other._answer, serving, theirs, other._handlers[protocol])
        return ours

    async def _answer(self, half: _Half, stream: MemoryStream, handler: StreamHandler) -> None:
        if half.served_streams >= self._limits(stream.peer).max_streams:
            await stream.reset()
            return
        half.served_streams += 1
        scope = trio.CancelScope()
        half.handlers.add(scope)
        try:
            with scope:
                async with stream:
                    await handler(stream.peer, stream)
        except* StreamError:
            pass
        except* Exception:  # noqa: BLE001 - the wall between one stream and the node
            _log.exception("stream handler failed")
        finally:
            half.served_streams -= 1
            half.handlers.discard(scope)
            half.streams.discard(stream)

    def max_message_bytes(self, peer: NodeId) -> int:
        """What one message of a stream with this peer may hold."""
        return self._limits(peer).max_frame_bytes


class _Pipe:
    """One direction of a stream: messages in order, bounded, ended properly or cut."""

    def __init__(self, window_bytes: int = USUAL_WINDOW_BYTES) -> None:
        self.window_bytes = window_bytes
        self.messages: deque[bytes] = deque()
        self.bytes = 0
        self.ended = False
        self.cut_reason: str | None = None
        self.changed = trio.lowlevel.ParkingLot()

    def end(self) -> None:
        self.ended = True
        self.changed.unpark_all()

    def cut(self, reason: str) -> None:
        """What was ended before stays readable."""
        self.cut_reason = self.cut_reason or reason
        if not self.ended:
            self.messages.clear()
            self.bytes = 0
        self.changed.unpark_all()


class MemoryStream:
    """See `gossip.transport.Stream`."""

    def __init__(
        self, owner: MemoryTransport, peer: NodeId, incoming: _Pipe, outgoing: _Pipe
    ) -> None:
        self._owner = owner
        self._peer = peer
        self._incoming = incoming
        self._outgoing = outgoing

    @property
    def peer(self) -> NodeId:
        """See `Stream.peer`."""
        return self._peer

    @property
    def unread_bytes(self) -> int:
        """What was sent to this end and not received."""
        return self._incoming.bytes

    @property
    def is_over(self) -> bool:
        """Whether it was cut or thrown away."""
        return self._incoming.cut_reason is not None

    async def send(self, message: bytes) -> None:
        """See `Stream.send`."""
        bound_bytes = self._owner.max_message_bytes(self._peer)
        if len(message) > bound_bytes:
            raise StreamError(f"a message of {len(message)} bytes, more than {bound_bytes}")
        pipe = self._outgoing
        try:
            await trio.lowlevel.checkpoint()
            while pipe.bytes >= pipe.window_bytes and pipe.cut_reason is None:
                await pipe.changed.park()
        except trio.Cancelled:
            self.cut("the stream was reset")
            raise
        if pipe.cut_reason is not None or pipe.ended:
            raise StreamError(pipe.cut_reason or "the stream was ended")
        pipe.messages.append(message)
        pipe.bytes += len(message)
        pipe.changed.unpark_all()

    async def receive(self) -> bytes | None:
        """See `Stream.receive`."""
        await trio.lowlevel.checkpoint()
        pipe = self._incoming
        while not pipe.messages:
            if pipe.ended:
                return None
            if pipe.cut_reason is not None:
                raise StreamError(pipe.cut_reason)
            await pipe.changed.park()
        message = pipe.messages.popleft()
        pipe.bytes -= len(message)
        pipe.changed.unpark_all()
        bound_bytes = self._owner.max_message_bytes(self._peer)
        if len(message) > bound_bytes:
            self.cut("the stream was reset")
            raise StreamError(f"a message of {len(message)} bytes, more than {bound_bytes}")
        return message

    def cut(self, reason: str) -> None:
        """Stop both directions."""
        self._incoming.cut(reason)
        self._outgoing.cut(reason)

    async def close(self) -> None:
        """See `Stream.close`."""
        self._outgoing.end()

    async def reset(self) -> None:
        """See `Stream.reset`."""
        self.cut("the stream was reset")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._outgoing.end()
        self.cut("the stream was reset")
