"""What the daemon and its model child say to each other, over the child's stdin and stdout.

A frame is a length of four bytes, big-endian, and that many bytes of MessagePack. The child speaks
first: `Ready` or `Unable`. Then each `Request` is answered, in order, by one `Done`, `Refused` or
`Failed`. The end of its stdin ends the child.
"""

from __future__ import annotations

import struct
from typing import Final

from gossip.codec import Wire, encode
from inference.kinds import Usage

MAX_FRAME_BYTES: Final = 64_000_000
"""Larger than any valid input or output (4,000,000 characters; 4,096 vectors of 1,536 bytes)."""
LENGTH_BYTES: Final = 4


class Ready(Wire, frozen=True, tag="ready"):
    """The model is loaded and is the one with this hash."""

    model_hash: str


class Unable(Wire, frozen=True, tag="unable"):
    """The model cannot be loaded; the child ends. `reason` is a sentence with what to do."""

    reason: str


class Request(Wire, frozen=True, tag="request"):
    """A task: the name of its kind and the canonical bytes of its input."""

    kind: str
    input: bytes


class Done(Wire, frozen=True, tag="done"):
    """The canonical bytes of the output, and what they cost."""

    output: bytes
    usage: Usage


class Refused(Wire, frozen=True, tag="refused"):
    """The input is not a valid one of its kind."""

    reason: str


class Failed(Wire, frozen=True, tag="failed"):
    """The task failed by a fault of ours; the child goes on."""

    reason: str


Greeting = Ready | Unable
Response = Done | Refused | Failed


class FrameTooLarge(ValueError):  # noqa: N818  # says what the frame is
    """A frame's length is beyond `MAX_FRAME_BYTES`: the two sides no longer understand each other."""


def frame(message: Greeting | Request | Response) -> bytes:
    """A message with its length in front."""
    body = encode(message)
    return length_prefix(len(body)) + body


def length_prefix(size_bytes: int) -> bytes:
    """The four bytes before a body of this size. Raises `FrameTooLarge`."""
    if size_bytes > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"a frame of {size_bytes:,} bytes; {MAX_FRAME_BYTES:,} are allowed")
    return struct.pack(">I", size_bytes)


def body_length(prefix: bytes) -> int:
    """How many bytes follow these four. Raises `FrameTooLarge`."""
    (size_bytes,) = struct.unpack(">I", prefix)
    length_prefix(size_bytes)
    return int(size_bytes)
