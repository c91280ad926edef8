"""HTTP's chunks in their plainest form, as nearly everybody writes them (RFC 9112, section 7.1): pure."""

from __future__ import annotations

from typing import Final

_MOST_DIGITS: Final = 6


def framed(part: bytes) -> bytes:
    """Bytes as one chunk; there are some."""
    return b"%x\r\n%b\r\n" % (len(part), part)


def whole_chunk(received: bytes) -> bytes | None:
    """What bytes between two chunks bring, if they are one chunk in this form, and not the last."""
    digits = received.find(b"\r\n", 0, _MOST_DIGITS + 2)
    size = len(received) - digits - 4
    if (
        digits > 0
        and size > 0
        and received[:digits].lower() == b"%x" % size
        and received.endswith(b"\r\n")
    ):
        return received[digits + 2 : -2]
    return None
