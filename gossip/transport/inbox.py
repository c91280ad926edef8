"""The bounded queue between a transport's peers and whoever reads its events.

A memory channel bounds how many events wait, but not how large they are, and lets one peer fill it
for all. This queue bounds both, for each peer and for all together. A peer's reader that finds its
share used up waits, its window fills, and its sender stops.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Self

import trio

from gossip.identity import NodeId
from gossip.transport import Frame, PeerDown, PeerUp, TransportEvent

EVENT_OVERHEAD_BYTES = 128
"""Counted for each event beside its payload, so that empty frames aren't free."""


def _cost_bytes(event: TransportEvent) -> int:
    return EVENT_OVERHEAD_BYTES + (len(event.payload) if isinstance(event, Frame) else 0)


class Inbox:
    """See `gossip.transport.Events` for its reading end."""

    def __init__(self, *, max_bytes: int = 32 * 2**20, max_peer_bytes: int = 8 * 2**20) -> None:
        self._events: deque[TransportEvent] = deque()
        self._max_bytes = max_bytes
        self._max_peer_bytes = max_peer_bytes
        self._used_bytes = 0
        self._used_by: defaultdict[NodeId, int] = defaultdict(int)
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._writers_of: dict[NodeId, trio.lowlevel.ParkingLot] = {}
        self._closed = False

    @property
    def used_bytes(self) -> int:
        """What waits, with its overhead."""
        return self._used_bytes

    def put_now(self, event: PeerUp | PeerDown) -> None:
        """Queue without waiting. Bounded by its callers: a peer up waits for `room` before."""
        self._append(event)

    async def room(self, peer: NodeId) -> None:
        """Wait until this peer's share and the whole have room."""
        while not self._closed:
            if self._used_by.get(peer, 0) >= self._max_peer_bytes:
                await self._writers_of.setdefault(peer, trio.lowlevel.ParkingLot()).park()
            elif self._used_bytes >= self._max_bytes:
                await self._writers.park()
            else:
                return

    async def put_frames(self, frames: Sequence[Frame]) -> None:
        """Queue the frames of one peer in order, waiting for room before each.

        A single frame may overdraw a bound by its own size.
        """
        for frame in frames:
            await self.room(frame.peer)
            self._append(frame)

    def close(self) -> None:
        """What waits can still be read; then readers find the end."""
        self._closed = True
        for lot in (self._readers, self._writers, *self._writers_of.values()):
            lot.unpark_all()

    def _append(self, event: TransportEvent) -> None:
        if self._closed:
            return
        cost_bytes = _cost_bytes(event)
        self._used_bytes += cost_bytes
        self._used_by[event.peer] += cost_bytes
        self._events.append(event)
        self._readers.unpark()

    def receive_nowait(self) -> TransportEvent:
        """See `Events.receive_nowait`."""
        if not self._events:
            if self._closed:
                raise trio.EndOfChannel
            raise trio.WouldBlock
        event = self._events.popleft()
        cost_bytes = _cost_bytes(event)
        self._used_bytes -= cost_bytes
        left_bytes = self._used_by[event.peer] - cost_bytes
        if left_bytes:
            self._used_by[event.peer] = left_bytes
        else:
            del self._used_by[event.peer]
        self._wake_writers(event.peer, left_bytes)
        return event

    def _wake_writers(self, peer: NodeId, used_by_peer_bytes: int) -> None:
        """Wake those for whom there is much room, so that a full inbox isn't all waking."""
        if self._writers and self._used_bytes <= self._max_bytes * 3 // 4:
            self._writers.unpark_all()
        if self._writers_of and used_by_peer_bytes <= self._max_peer_bytes // 2:
            waiting = self._writers_of.pop(peer, None)
            if waiting is not None:
                waiting.unpark_all()

    async def receive(self) -> TransportEvent:
        """See `Events.receive`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                event = self.receive_nowait()
            except trio.WouldBlock:
                await self._readers.park()
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TransportEvent:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
