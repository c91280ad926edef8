"""The bounded queues between a transport's peers and whoever reads its events.

A memory channel bounds how many events wait, but not how large they are, and lets one peer fill it
for all. These queues bound both, for each peer and for all together, and are served in turn. A peer's
reader that finds its share used up waits, its window fills, and its sender stops.

A peer that is held back has a small share until all that waited of it is gone: reading a message costs
more than sending it, so whoever is not listened to is not read ahead either. Being held outlasts the
connection.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Self

import trio

from gossip.identity import NodeId
from gossip.transport import Frame, PeerDown, PeerUp, TransportEvent

EVENT_OVERHEAD_BYTES = 128
"""Counted for each event beside its payload, so that empty frames aren't free."""
HELD_PEER_BYTES = 64 * 2**10


def _cost_bytes(event: TransportEvent) -> int:
    return EVENT_OVERHEAD_BYTES + (len(event.payload) if isinstance(event, Frame) else 0)


class Inbox:
    """See `gossip.transport.Events` for its reading end."""

    def __init__(self, *, max_bytes: int = 32 * 2**20, max_peer_bytes: int = 8 * 2**20) -> None:
        self._queues: dict[NodeId, deque[TransportEvent]] = {}
        self._turns: deque[NodeId] = deque()
        """Those of whom something waits that may be given out, in the order in which they are served."""
        self._held: dict[NodeId, float] = {}
        """Until when no frame of a peer is given out."""
        self._narrow: set[NodeId] = set()
        """Those that have been held since all that waited of them was gone."""
        self._max_bytes = max_bytes
        self._max_peer_bytes = max_peer_bytes
        self._used_bytes = 0
        self._used_by: defaultdict[NodeId, int] = defaultdict(int)
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._writers_of: dict[NodeId, trio.lowlevel.ParkingLot] = {}
        self._closed = False
        self._attendant: Callable[[Frame], bool] | None = None

    @property
    def used_bytes(self) -> int:
        """What waits, with its overhead."""
        return self._used_bytes

    def used_by(self, peer: NodeId) -> int:
        """What waits of one peer, with its overhead."""
        return self._used_by.get(peer, 0)

    def put_now(self, event: PeerUp | PeerDown) -> None:
        """Queue without waiting. Bounded by its callers: a peer up waits for `room` before.

        What waits of a peer that was held and is gone now is thrown away: nobody waits for its end.
        """
        if isinstance(event, PeerDown) and event.peer in self._narrow:
            self._forget_frames(event.peer)
        self._append(event)

    def attend(self, take: Callable[[Frame], bool]) -> None:
        """See `Events.attend`."""
        self._attendant = take

    def hold(self, peer: NodeId, seconds: float) -> None:
        """See `Events.hold`."""
        self._held[peer] = trio.current_time() + seconds
        self._narrow.add(peer)
        queue = self._queues.get(peer)
        if queue and isinstance(queue[-1], PeerDown):
            self._forget_frames(peer)
        elif peer in self._turns and not self._is_served(peer):
            self._turns.remove(peer)

    def _is_served(self, peer: NodeId) -> bool:
        """Whether something waits of a peer, and its first may be given out."""
        queue = self._queues.get(peer)
        return queue is not None and not (peer in self._held and isinstance(queue[0], Frame))

    def _release(self, peer: NodeId) -> None:
        del self._held[peer]
        if peer not in self._queues:
            self._narrow.discard(peer)
        elif peer not in self._turns:
            self._turns.append(peer)

    def _bound_of(self, peer: NodeId) -> int:
        """How much of a peer may wait."""
        least_bytes = min(HELD_PEER_BYTES, self._max_peer_bytes)
        return least_bytes if peer in self._narrow else self._max_peer_bytes

    def _forget_frames(self, peer: NodeId) -> None:
        queue = self._queues.get(peer, ())
        frames = [one for one in queue if isinstance(one, Frame)]
        for one in frames:
            self._account(peer, -_cost_bytes(one))
        rest: deque[TransportEvent] = deque(one for one in queue if not isinstance(one, Frame))
        if rest:
            self._queues[peer] = rest
        else:
            self._queues.pop(peer, None)
        if peer in self._turns:
            self._turns.remove(peer)
        if rest:
            self._turns.append(peer)

    async def room(self, peer: NodeId) -> None:
        """Wait until this peer's share and the whole have room."""
        while not self._closed:
            if self.used_by(peer) >= self._bound_of(peer):
                await self._writers_of.setdefault(peer, trio.lowlevel.ParkingLot()).park()
                # The peer's end frees its share and cancels its reader: that one adds nothing more.
                await trio.lowlevel.checkpoint_if_cancelled()
            elif self._used_bytes >= self._max_bytes:
                await self._writers.park()
            else:
                return

    def put_if_room(self, frame: Frame) -> bool:
        """Queue a frame, or give it away on the spot; False if there is no room for it."""
        peer = frame.peer
        if self._closed or (
            self._used_bytes < self._max_bytes and self.used_by(peer) < self._bound_of(peer)
        ):
            self._append(frame)
            return True
        return False

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
        if self._is_given_away(event):
            return
        peer = event.peer
        self._account(peer, _cost_bytes(event))
        queue = self._queues.get(peer)
        if queue is None:
            queue = self._queues[peer] = deque()
        queue.append(event)
        if len(queue) == 1 and self._is_served(peer):
            self._turns.append(peer)
        self._readers.unpark()

    def _is_given_away(self, event: TransportEvent) -> bool:
        """While a reader waits, nothing that came before is still to be read, or but of peers that are held."""
        take = self._attendant
        if take is None or not isinstance(event, Frame) or not self._readers or self._turns:
            return False
        return event.peer not in self._held and take(event)

    def _account(self, peer: NodeId, cost_bytes: int) -> None:
        self._used_bytes += cost_bytes
        left_bytes = self._used_by[peer] + cost_bytes
        if left_bytes:
            self._used_by[peer] = left_bytes
        else:
            del self._used_by[peer]
        if cost_bytes < 0:
            self._wake_writers(peer, left_bytes)

    def receive_nowait(self) -> TransportEvent:
        """See `Events.receive_nowait`."""
        if self._held:
            now_s = trio.current_time()
            for peer in [one for one, until_s in self._held.items() if until_s <= now_s]:
                self._release(peer)
        if not self._turns:
            if self._closed:
                raise trio.EndOfChannel
            raise trio.WouldBlock
        peer = self._turns.popleft()
        queue = self._queues[peer]
        event = queue.popleft()
        if not queue:
            del self._queues[peer]
            if peer not in self._held:
                self._narrow.discard(peer)
        elif self._is_served(peer):
            self._turns.append(peer)
        self._account(peer, -_cost_bytes(event))
        return event

    def _wake_writers(self, peer: NodeId, used_by_peer_bytes: int) -> None:
        """Wake those for whom there is much room, so that a full inbox isn't all waking."""
        if self._writers and self._used_bytes <= self._max_bytes * 3 // 4:
            self._writers.unpark_all()
        if self._writers_of and used_by_peer_bytes <= self._bound_of(peer) // 2:
            waiting = self._writers_of.pop(peer, None)
            if waiting is not None:
                waiting.unpark_all()

    async def receive(self) -> TransportEvent:
        """See `Events.receive`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        has_rested = False
        while True:
            try:
                event = self.receive_nowait()
            except trio.WouldBlock:
                has_rested = True
                if self._held:
                    with trio.CancelScope(deadline=min(self._held.values())):
                        await self._readers.park()
                else:
                    await self._readers.park()
            else:
                if not has_rested:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TransportEvent:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
