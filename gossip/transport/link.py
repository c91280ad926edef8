"""One logical peer.

Its connection, the two gossip streams on it, its queue, its budget, its counters.

A link is pending until a gossip stream stands in each direction on one and the same connection;
then it is up, and stays on that connection until it is gone. So a frame never travels on a
connection that one side is about to drop, and order needs no care.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import trio

from gossip.identity import NodeId
from gossip.transport import Frame, Limits, PeerLimits, PeerStats
from gossip.transport.framing import FrameDecoder
from gossip.transport.inbox import Inbox
from gossip.transport.muxer import Connection, MuxStream
from gossip.transport.outbox import MAX_WRITE_BYTES, Outbox, OutboxBounds

_ADMISSION_STEP_S = 0.25


@dataclass(slots=True)
class Allowance:
    """A token bucket that may be overdrawn once: what came in is paid for by waiting afterwards."""

    level_bytes: float | None = None
    filled_at_s: float = 0.0

    def spend(self, now_s: float, size_bytes: int, limits: PeerLimits) -> float:
        """Take `size_bytes` out and return how many seconds to wait before reading on."""
        full_bytes = max(limits.burst_bytes, limits.max_frame_bytes)
        if self.level_bytes is None:
            self.level_bytes = full_bytes
        else:
            gained_bytes = (now_s - self.filled_at_s) * limits.bytes_per_s
            self.level_bytes = min(self.level_bytes + gained_bytes, full_bytes)
        self.filled_at_s = now_s
        self.level_bytes -= size_bytes
        return max(0.0, -self.level_bytes / max(limits.bytes_per_s, 1))


class Link:
    """See above. `Libp2pTransport` decides when it comes up and when it is gone."""

    def __init__(
        self,
        connection: Connection,
        address: str,
        bounds: OutboxBounds,
        on_filled: Callable[[Link], None],
    ) -> None:
        """`on_filled` hears when something waits while the writer rests, and has it pushed."""
        self.connection = connection
        self.address = address
        self.up = False
        self.settled = trio.Event()
        self.outbox = Outbox(bounds, partial(on_filled, self))
        self.served_streams = 0
        self.outgoing: MuxStream | None = None
        self._frames_in = 0
        self._bytes_in = 0

    @property
    def peer(self) -> NodeId:
        """Whose link it is."""
        return self.connection.peer

    def stats(self, waiting_bytes: int) -> PeerStats:
        """A snapshot of the counters; `waiting_bytes` of its frames wait in the inbox."""
        round_trip_s = self.connection.round_trip_s
        return PeerStats(
            address=self.address,
            outbound=self.connection.outbound,
            frames_in=self._frames_in,
            bytes_in=self._bytes_in,
            frames_out=self.outbox.sent_frames,
            bytes_out=self.outbox.sent_bytes,
            frames_dropped=self.outbox.dropped_frames,
            queued_frames=self.outbox.queued_frames,
            queued_bytes=self.outbox.queued_bytes + self.connection.unsent_bytes,
            unread_bytes=waiting_bytes + self.connection.unread_bytes,
            streams=self.connection.session.streams,
            round_trip_ms=None if round_trip_s is None else 1000 * round_trip_s,
        )

    async def write_frames(self) -> str:
        """Send what is queued, until the stream is cut; return why it was."""
        assert self.outgoing is not None
        try:
            while True:
                await self.outgoing.write(await self.outbox.take())
        except ConnectionError as error:
            return str(error)

    def push(self) -> None:
        """Send what is queued on the spot if the peer and the socket have room for it; else the writer does."""
        outbox, stream = self.outbox, self.outgoing
        size_bytes = outbox.queued_bytes
        if stream is not None and size_bytes <= MAX_WRITE_BYTES and stream.has_room(size_bytes):
            stream.write_now(outbox.take_now())
        else:
            outbox.wake_writer()

    async def read_frames(self, stream: MuxStream, limits: Limits, inbox: Inbox) -> str:
        """Queue what arrives as events, until something ends it; return what did."""
        arrivals = _Arrivals(self, stream, limits, inbox)
        try:
            while await stream.hand_over(arrivals.take):
                await arrivals.rest()
                if arrivals.fault is not None:
                    self.connection.is_broken = True
                    return f"it sent {arrivals.fault}"
        except ConnectionError as error:
            return str(error)
        return "it ended its gossip stream"

    def count(self, frames: list[Frame]) -> None:
        """Note that frames have come."""
        self._frames_in += len(frames)
        self._bytes_in += sum(len(frame.payload) for frame in frames)


class _Arrivals:
    """What comes of one peer: cut into frames and queued on the spot, or held up until there is room and allowance."""

    def __init__(self, link: Link, stream: MuxStream, limits: Limits, inbox: Inbox) -> None:
        self._link, self._stream, self._limits, self._inbox = link, stream, limits, inbox
        self._decoder = FrameDecoder()
        self._allowance = Allowance()
        self._wait_s = 0.0
        self._left: list[Frame] = []

    @property
    def fault(self) -> str | None:
        """What is wrong with what came."""
        return self._decoder.fault

    def take(self, data: bytes) -> bool:
        """Whether more may come at once; otherwise `rest` first."""
        peer, inbox = self._link.peer, self._inbox
        bounds = self._limits(peer)
        frames = [
            Frame(peer, channel, payload)
            for channel, payload in self._decoder.feed(data, bounds.max_frame_bytes)
        ]
        self._link.count(frames)
        for at, frame in enumerate(frames):
            if not inbox.put_if_room(frame):
                self._left = frames[at:]
                break
        self._stream.kept_bytes = self._decoder.buffered_bytes + sum(
            len(frame.payload) for frame in self._left
        )
        self._wait_s = self._allowance.spend(trio.current_time(), len(data), bounds)
        return not (self._left or self._wait_s or self._decoder.fault is not None)

    async def rest(self) -> None:
        """Return when what came is queued and paid for."""
        left, self._left = self._left, []
        await self._inbox.put_frames(left)
        self._stream.kept_bytes = self._decoder.buffered_bytes
        if self.fault is not None:
            return
        peer, wait_s = self._link.peer, self._wait_s
        while wait_s:
            # In steps, since the peer may be admitted meanwhile.
            await trio.sleep(min(wait_s, _ADMISSION_STEP_S))
            wait_s = self._allowance.spend(trio.current_time(), 0, self._limits(peer))
