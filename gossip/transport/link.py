"""One logical peer.

Its connection, the two gossip streams on it, its queue, its budget, its counters.

A link is pending until a gossip stream stands in each direction on one and the same connection;
then it is up, and stays on that connection until it is gone. So a frame never travels on a
connection that one side is about to drop, and order needs no care.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from gossip.identity import NodeId
from gossip.transport import Frame, Limits, PeerLimits, PeerStats
from gossip.transport.framing import FrameDecoder
from gossip.transport.inbox import Inbox
from gossip.transport.muxer import Connection, MuxStream
from gossip.transport.outbox import Outbox, OutboxBounds

_READ_BYTES = 128 * 2**10
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

    def __init__(self, connection: Connection, address: str, bounds: OutboxBounds) -> None:
        self.connection = connection
        self.address = address
        self.up = False
        self.settled = trio.Event()
        self.outbox = Outbox(bounds)
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

    async def read_frames(self, stream: MuxStream, limits: Limits, inbox: Inbox) -> str:
        """Queue what arrives as events, until something ends it; return what did."""
        decoder = FrameDecoder()
        allowance = Allowance()
        try:
            while data := await stream.read_some(_READ_BYTES):
                bounds = limits(self.peer)
                frames = [
                    Frame(self.peer, channel, payload)
                    for channel, payload in decoder.feed(data, bounds.max_frame_bytes)
                ]
                size_bytes = sum(len(frame.payload) for frame in frames)
                self._frames_in += len(frames)
                self._bytes_in += size_bytes
                stream.kept_bytes = decoder.buffered_bytes + size_bytes
                await inbox.put_frames(frames)
                stream.kept_bytes = decoder.buffered_bytes
                if decoder.fault is not None:
                    self.connection.is_broken = True
                    return f"it sent {decoder.fault}"
                wait_s = allowance.spend(trio.current_time(), len(data), bounds)
                while wait_s:
                    # In steps, since the peer may be admitted meanwhile.
                    await trio.sleep(min(wait_s, _ADMISSION_STEP_S))
                    wait_s = allowance.spend(trio.current_time(), 0, limits(self.peer))
        except ConnectionError as error:
            return str(error)
        return "it ended its gossip stream"
