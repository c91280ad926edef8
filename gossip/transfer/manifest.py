"""Contents cut into chunks, and the names of both. Pure.

A chunk's name is the hash of its bytes; a content's name is the hash of its manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Final

import msgspec

from gossip.codec import (
    Bytes32,
    DecodeError,
    Digest,
    Natural,
    Wire,
    decode_canonical,
    digest,
    encode,
)

CHUNK_BYTES: Final = 1024 * 1024
"""All chunks of a content have this size, but the last one."""

MAX_CHUNKS: Final = 65_536
"""So a manifest stays within one message, and a content within 64 GiB."""


class Manifest(Wire, frozen=True):
    """What a content consists of. `chunks` are the names of its chunks, in order."""

    size_bytes: Natural
    chunks: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=MAX_CHUNKS)]

    def fault(self) -> str | None:
        """Why nothing can have this manifest, or None."""
        if len(self.chunks) != -(-self.size_bytes // CHUNK_BYTES):
            return f"{len(self.chunks)} chunks for {self.size_bytes} bytes"
        return None

    def size_of(self, index: int) -> int:
        """The size of a chunk, in bytes."""
        return min(CHUNK_BYTES, self.size_bytes - index * CHUNK_BYTES)


def chunk_name(chunk: bytes) -> Digest:
    """The name of a chunk."""
    return digest(b"content-chunk", chunk)


def content_name(manifest: Manifest) -> Digest:
    """The name of the content with this manifest."""
    return digest(b"content", encode(manifest))


def read_manifest(raw: bytes, name: bytes) -> Manifest:
    """The manifest of a named content. Raises `DecodeError` if the bytes are not it."""
    manifest = decode_canonical(raw, Manifest)
    fault = manifest.fault()
    if fault is not None:
        raise DecodeError(fault)
    if content_name(manifest) != name:
        raise DecodeError("it is the manifest of another content")
    return manifest


def cut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Chunks of a content that comes in pieces of any size."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= CHUNK_BYTES:
            yield bytes(waiting[:CHUNK_BYTES])
            del waiting[:CHUNK_BYTES]
    if waiting:
        yield bytes(waiting)
