"""A stream of bytes to lines, bounded: what server-sent events and NDJSON have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

MAX_LINE_BYTES: Final = 4 * 1024 * 1024
"""A line that no honest server sends: one chunk of an answer is some hundred bytes."""


class LineTooLong(ValueError):  # noqa: N818  # says what the line is
    """A line is longer than the bound; nothing after it can be read."""


class Lines:
    """Takes bytes as they arrive and gives whole lines, without their ends (LF or CRLF)."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()

    @property
    def is_empty(self) -> bool:
        """Whether the last line was whole."""
        return not self._rest

    @property
    def rest(self) -> bytes:
        """What came after the last line's end."""
        return bytes(self._rest)

    def feed(self, received: bytes) -> Iterator[bytes]:
        """The lines that end in these bytes; each must be taken. Raises `LineTooLong`."""
        self._rest += received
        start = 0
        while (end := self._rest.find(b"\n", start)) >= 0:
            self._check(end - start)
            line = bytes(self._rest[start:end])
            start = end + 1
            yield line.removesuffix(b"\r")
        del self._rest[:start]
        self._check(len(self._rest))

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise LineTooLong(f"a line of more than {self._max_bytes:,} bytes")
