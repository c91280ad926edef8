"""Server-sent events as OpenAI's API uses them: the `data` of each event, and nothing else.

The rules are those of the HTML standard, section 9.2.6, for a reader that needs no names, ids or
reconnection: comment lines and other fields are skipped, several `data` lines are joined by a line
feed, an empty line ends the event, and an event that the stream's end cuts off is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator

from inference.lines import MAX_LINE_BYTES, Lines, LineTooLong

DONE = b"[DONE]"
"""The data of the last event."""
DATA = b"data: "
"""Before the data of an event, as servers write it."""


class SseParser:
    """Takes bytes as they arrive and gives the data of whole events."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._lines = Lines(max_bytes)
        self._max_bytes = max_bytes
        self._data: list[bytes] = []
        self._size_bytes = 0

    def feed(self, received: bytes) -> Iterator[bytes]:
        """The events that end in these bytes; each must be taken. Raises `LineTooLong`."""
        if (data := self.only(received)) is not None:
            yield data
            return
        for line in self._lines.feed(received):
            if not line:
                if self._data:
                    yield b"\n".join(self._data)
                self._data, self._size_bytes = [], 0
                continue
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
                self._size_bytes += len(value) + 1
                if self._size_bytes > self._max_bytes:
                    raise LineTooLong(f"an event of more than {self._max_bytes:,} bytes")

    def only(self, received: bytes) -> bytes | None:
        """The data, if these bytes are one whole event of one line: what servers send nearly always."""
        if (
            received.startswith(DATA)
            and received.find(b"\n") == len(received) - 2
            and received.endswith(b"\n\n")
            and len(received) <= self._max_bytes
            and not self._data
            and self._lines.is_empty
        ):
            return received[len(DATA) : -2]
        return None


def is_one_line(data: bytes) -> bool:
    """Whether data can be written as it is. To a reader who follows the standard, CR ends a line too."""
    return b"\r" not in data and b"\n" not in data


def event(data: bytes) -> bytes:
    """One event; the data is one line, as all JSON is that we write."""
    return b"data: " + data + b"\n\n"
