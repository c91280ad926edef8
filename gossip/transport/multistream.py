"""Multistream-select: both ends of a byte stream agree on the protocol that it will carry.

The dialer names protocols until the listener repeats one. A line is a varint of its length, text,
and a newline. Every length and every number of tries is bounded here; in py-libp2p's own, two bytes
that aren't UTF-8 raise through the host and end it. Source: multiformats/multistream-select.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

_HEADER = "/multistream/1.0.0"
_REFUSAL = "na"
_MAX_LINE_BYTES = 1024
_MAX_TRIES = 16


class ByteStream(Protocol):
    """What negotiation needs. Both raise `ConnectionError` when the stream is cut."""

    async def read_exactly(self, size_bytes: int) -> bytes: ...

    async def write(self, data: bytes) -> None: ...


class NegotiationError(Exception):
    """The other side doesn't speak multistream-select, or knows nothing of what was asked."""


def encode_line(text: str) -> bytes:
    """One message of the negotiation."""
    line = text.encode() + b"\n"
    assert len(line) <= _MAX_LINE_BYTES
    if len(line) < 0x80:  # noqa: PLR2004 - a varint of one byte
        return bytes([len(line)]) + line
    return bytes([len(line) & 0x7F | 0x80, len(line) >> 7]) + line


async def _read_line(stream: ByteStream) -> str:
    size_bytes = (await stream.read_exactly(1))[0]
    if size_bytes & 0x80:
        size_bytes = size_bytes & 0x7F | (await stream.read_exactly(1))[0] << 7
    if not 1 <= size_bytes <= _MAX_LINE_BYTES:
        raise NegotiationError("a line of the negotiation is empty or too long")
    line = await stream.read_exactly(size_bytes)
    if not line.endswith(b"\n"):
        raise NegotiationError("a line of the negotiation has no end")
    try:
        return line[:-1].decode()
    except UnicodeDecodeError:
        raise NegotiationError("a line of the negotiation is not text") from None


async def _expect_header(stream: ByteStream) -> None:
    if await _read_line(stream) != _HEADER:
        raise NegotiationError("the other side doesn't speak multistream-select")


async def select(stream: ByteStream, protocol: str) -> None:
    """As the dialer, ask for `protocol`. Raises `NegotiationError` if it is refused."""
    # Header and wish go out together: one round trip, and every listener reads them one by one.
    await stream.write(encode_line(_HEADER) + encode_line(protocol))
    await _expect_header(stream)
    if await _read_line(stream) != protocol:
        raise NegotiationError(f"the other side doesn't serve {protocol}")


async def accept(stream: ByteStream, protocols: Container[str]) -> str:
    """As the listener, return the protocol that the dialer asked for first among `protocols`."""
    await stream.write(encode_line(_HEADER))
    await _expect_header(stream)
    for _ in range(_MAX_TRIES):
        wish = await _read_line(stream)
        if wish in protocols:
            await stream.write(encode_line(wish))
            return wish
        await stream.write(encode_line(_REFUSAL))
    raise NegotiationError("the other side asked for too many protocols that aren't served")
