"""zstd where it helps: a sample is tried first, so that what is compressed already costs next to nothing.

Both functions may run in threads.
"""

from __future__ import annotations

from typing import Final

import zstandard

_LEVEL: Final = 1
_SAMPLE_BYTES: Final = 16 * 1024
_WORTH: Final = 0.9
"""Compress if that leaves at most this share."""


def compressed(data: bytes) -> bytes | None:
    """A smaller form of `data`, or None if there is none worth its work."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    middle = len(data) // 2
    sample = data[middle : middle + _SAMPLE_BYTES]
    if len(compressor.compress(sample)) > _WORTH * len(sample):
        return None
    smaller = compressor.compress(data)
    return smaller if len(smaller) <= _WORTH * len(data) else None


def expanded(data: bytes, size_bytes: int) -> bytes | None:
    """What was compressed, if that is so many bytes as it should be; None for anything else.

    The size that the data claims is looked at before anything is expanded.
    """
    try:
        if zstandard.get_frame_parameters(data).content_size != size_bytes:
            return None
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=size_bytes)
    except zstandard.ZstdError:
        return None
