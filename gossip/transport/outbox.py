"""What waits to be sent to one peer: two bounded queues, urgent frames first.

The cost of a message is that of a write, not of its bytes (twenty a write are twenty times as many
a second), so a writer takes everything that waits and writes it at once. While the writer rests, whoever
made the outbox may be told instead that something waits, and take it without a change of tasks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import trio

from gossip.transport.framing import HEADER_BYTES, encode_frame

MAX_WRITE_BYTES = 256 * 2**10
"""Where a batch ends, so that an urgent frame never waits behind more than this."""


@dataclass(frozen=True, slots=True)
class OutboxBounds:
    """Per queue; an urgent flood doesn't take the room of bulk, nor the other way round."""

    max_frames: int = 8192
    max_bytes: int = 16 * 2**20


class _Queue:
    __slots__ = ("bounds", "bytes", "frames")

    def __init__(self, bounds: OutboxBounds) -> None:
        self.bounds = bounds
        self.frames: deque[bytes] = deque()
        self.bytes = 0

    def put(self, frame: bytes) -> bool:
        if (
            len(self.frames) >= self.bounds.max_frames
            or self.bytes + len(frame) > self.bounds.max_bytes
        ):
            return False
        self.frames.append(frame)
        self.bytes += len(frame)
        return True

    def move_to(self, batch: list[bytes], size_bytes: int) -> int:
        """Move frames until the batch has `MAX_WRITE_BYTES` or more; return its new size."""
        while self.frames and size_bytes < MAX_WRITE_BYTES:
            frame = self.frames.popleft()
            self.bytes -= len(frame)
            size_bytes += len(frame)
            batch.append(frame)
        return size_bytes


class Outbox:
    """One writer takes; anybody puts."""

    def __init__(self, bounds: OutboxBounds, on_filled: Callable[[], None] | None = None) -> None:
        """`on_filled` is called when something waits again while the writer rests; without it the writer is woken."""
        self._urgent = _Queue(bounds)
        self._bulk = _Queue(bounds)
        self._on_filled = on_filled or self.wake_writer
        self._writer = trio.lowlevel.ParkingLot()
        self._is_resting = False
        self._rests = trio.lowlevel.ParkingLot()
        self.dropped_frames = 0
        self.sent_frames = 0
        self.sent_bytes = 0

    @property
    def queued_frames(self) -> int:
        """How many frames wait."""
        return len(self._urgent.frames) + len(self._bulk.frames)

    @property
    def queued_bytes(self) -> int:
        """How many bytes wait, headers included."""
        return self._urgent.bytes + self._bulk.bytes

    def put(self, channel: int, payload: bytes, *, urgent: bool) -> bool:
        """Queue a frame, or count it as dropped and return False."""
        queue = self._urgent if urgent else self._bulk
        if not queue.put(encode_frame(channel, payload)):
            self.dropped_frames += 1
            return False
        if self._is_resting:
            self._is_resting = False
            self._on_filled()
        return True

    def wake_writer(self) -> None:
        """Leave what waits to the writer."""
        self._writer.unpark_all()

    def take_now(self) -> bytes:
        """All that waits, urgent first, cut off after `MAX_WRITE_BYTES`; only while the writer rests.

        With the last of it the outbox rests again.
        """
        assert self._writer
        data = self._taken()
        if not self.queued_frames:
            self._rest()
        return data

    async def take(self) -> bytes:
        """Wait for frames; return all that wait, urgent first, cut off after `MAX_WRITE_BYTES`."""
        while True:
            data = self._taken()
            if data:
                return data
            self._rest()
            await self._writer.park()

    def _taken(self) -> bytes:
        batch: list[bytes] = []
        size_bytes = self._bulk.move_to(batch, self._urgent.move_to(batch, 0))
        self.sent_frames += len(batch)
        self.sent_bytes += size_bytes - HEADER_BYTES * len(batch)
        return b"".join(batch)

    def _rest(self) -> None:
        self._is_resting = True
        if self._rests:
            self._rests.unpark_all()

    async def emptied(self) -> None:
        """Return when all that was put was taken, and the writer is back for more."""
        while not self._is_resting:
            await self._rests.park()
