"""Frames on a byte stream: 4-byte big-endian length of the payload, 1-byte channel, payload.

Pure. The length is judged when the fifth byte has come and before any of the payload is kept, so
that a decoder never holds more than its maximum and what was fed at once.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

_HEADER = struct.Struct("!IB")
HEADER_BYTES = _HEADER.size
MAX_CHANNEL = 255


def encode_frame(channel: int, payload: bytes) -> bytes:
    """The bytes of one frame."""
    return _HEADER.pack(len(payload), channel) + payload


@dataclass(slots=True)
class FrameDecoder:
    """Cuts what arrives, in pieces of any size, back into frames.

    Once `fault` is set, the stream can't be read on: nobody knows where the next frame begins.
    """

    fault: str | None = None
    _waiting: bytearray = field(default_factory=bytearray)

    @property
    def buffered_bytes(self) -> int:
        """How much of an unfinished frame is held."""
        return len(self._waiting)

    def feed(self, data: bytes, max_payload_bytes: int) -> list[tuple[int, bytes]]:
        """Return the frames that `data` completes, as (channel, payload), up to a fault.

        `max_payload_bytes` may differ from call to call; a frame is held to the bound of the call
        that brings it.
        """
        if self.fault is not None:
            return []
        self._waiting += data
        frames = []
        start = 0
        with memoryview(self._waiting) as waiting:
            while len(waiting) - start >= HEADER_BYTES:
                size_bytes, channel = _HEADER.unpack_from(waiting, start)
                if size_bytes > max_payload_bytes:
                    self.fault = f"a frame of {size_bytes} bytes, more than {max_payload_bytes}"
                    break
                end = start + HEADER_BYTES + size_bytes
                if end > len(waiting):
                    break
                frames.append((channel, bytes(waiting[start + HEADER_BYTES : end])))
                start = end
        if self.fault is None:
            del self._waiting[:start]
        else:
            self._waiting.clear()
        return frames
