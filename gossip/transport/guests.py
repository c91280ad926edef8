"""What any libp2p peer may ask of us, admitted or not: who we are, and whether we are there."""

from __future__ import annotations

import trio

from gossip.transport.muxer import MuxStream

IDENTIFY = "/ipfs/id/1.0.0"
PING = "/ipfs/ping/1.0.0"
_PING_BYTES = 32
_IDLE_S = 60.0
_LINGER_S = 10.0


def _varint(number: int) -> bytes:
    digits = []
    while number >= 0x80:  # noqa: PLR2004 - seven bits a byte
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


async def answer_identify(stream: MuxStream, answer: bytes) -> None:
    """Send who we are, length first."""
    await stream.write(_varint(len(answer)) + answer)


async def answer_pings(stream: MuxStream) -> None:
    """Echo 32 bytes for 32 bytes, until the other side ends or falls silent."""
    with trio.move_on_after(_IDLE_S) as limit:
        while (first := await stream.read_some(_PING_BYTES)) != b"":
            rest = await stream.read_exactly(_PING_BYTES - len(first))
            await stream.write(first + rest)
            limit.deadline = trio.current_time() + _IDLE_S


async def farewell(stream: MuxStream) -> None:
    """End a stream with a peer whose muxer may drop what it hasn't read when a reset comes."""
    stream.end_write()
    with trio.move_on_after(_LINGER_S):
        while await stream.read_some(_PING_BYTES):
            pass
