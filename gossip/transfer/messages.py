"""What two nodes say to each other on a stream for contents: a request, its answer, in the order of the requests."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import msgspec

from gossip.codec import Bytes32, Wire
from gossip.transfer.manifest import CHUNK_BYTES, Manifest

PROTOCOL = "/bizra/content/1"


class Priority(IntEnum):
    """What goes first where bandwidth is short."""

    STATE = 0
    """A node that can't take part in consensus without it."""
    TASK = 1
    """Somebody waits for an answer."""
    BULK = 2
    """Whenever there is room."""


class GetManifest(Wire, frozen=True, tag=1):
    """Ask for the manifest of a content."""

    content: Bytes32


class GetChunk(Wire, frozen=True, tag=2):
    """Ask for a chunk by its name."""

    chunk: Bytes32
    priority: Priority


class ManifestIs(Wire, frozen=True, tag=3):
    """The manifest that was asked for."""

    manifest: Manifest


class Chunk(Wire, frozen=True, tag=4):
    """The chunk that was asked for, as it is or compressed by zstd."""

    compressed: bool
    data: Annotated[bytes, msgspec.Meta(max_length=CHUNK_BYTES)]


class Absent(Wire, frozen=True, tag=5):
    """It is not here."""


Request = GetManifest | GetChunk
Answer = ManifestIs | Chunk | Absent
