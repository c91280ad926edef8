"""The transitions of a run as one line of text, so that a saved run can say later which of them differ."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable

_MOST_CHARS = 6_000
"""A longer one would bury the scenario beside it: a few hundred transitions fit."""
_MOST_BYTES = 1024 * 1024


class DamagedError(ValueError):
    """The text is not what `packed` makes."""


def packed(lines: Iterable[str]) -> str:
    """The lines in few characters; nothing if there are too many of them."""
    text = b64encode(zlib.compress("\n".join(lines).encode(), 9)).decode()
    return text if len(text) <= _MOST_CHARS else ""


def unpacked(text: str) -> tuple[str, ...]:
    """The lines again. Raises `DamagedError`."""
    try:
        unpacking = zlib.decompressobj()
        lines = unpacking.decompress(b64decode(text, validate=True), _MOST_BYTES)
        if not unpacking.eof:
            raise DamagedError("it ends early, or is longer than any that is written")
        return tuple(lines.decode().split("\n"))
    except (ValueError, zlib.error) as error:
        raise DamagedError(str(error)) from None
