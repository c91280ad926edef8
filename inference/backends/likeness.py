"""Events that are like one that was checked, in all but the text they bring: pure.

Nearly all chunks of a stream differ from the one before in their `content` alone. To find that out costs less than to
decode and check the chunk again, which could come to nothing else.
"""

from __future__ import annotations

import re
from typing import Final, Self

import msgspec

from inference.backends.framing import framed, whole_chunk
from inference.chat import JsonObject
from inference.sse import DATA

_STRING: Final = rb'(?:[^"\\\x00-\x1f]|\\["\\/bfnrt])*'
"""What stands between the quotation marks of a JSON string, but for its letters written as numbers."""
_PLACE: Final = re.compile(rb'"content" ?: ?"(' + _STRING + rb')"')
_TEXT: Final = re.compile(_STRING)
_OTHER: Final = b"another text"
_USUAL: Final = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))
"""Letters that stand for themselves; to find no others takes less time than a regular expression."""
_NEVER: Final = b"\0"
"""No chunk begins with this."""
_MOST_LENGTHS: Final = 256
"""Chunks of a stream differ in length by a word."""


class Likeness:
    """Events of one line that begin and end like this."""

    def __init__(self, begin: bytes, end: bytes) -> None:
        self.begin, self.end = begin, end
        self._framed_end = end + b"\r\n"
        self._framed_begins: dict[int, bytes] = {}
        """By the length of the whole, how one of HTTP's chunks with such an event begins."""

    @classmethod
    def of(cls, event: bytes, chunk: JsonObject) -> Self | None:
        """What is like an event that holds this chunk; None if its text is not to be told from the rest."""
        found = _PLACE.search(event)
        choices = chunk["choices"]
        if found is None or len(choices) != 1 or "delta" not in choices[0]:
            return None
        likeness = cls(event[: found.start(1)], event[found.end(1) :])
        said = likeness.begin.removeprefix(DATA) + _OTHER + likeness.end
        try:
            other = msgspec.json.decode(said)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        delta = {**choices[0]["delta"], "content": _OTHER.decode()}
        same = {**chunk, "choices": [{**choices[0], "delta": delta}]}
        return likeness if other == same else None

    def holds(self, event: bytes) -> bool:
        """Whether an event is like this one."""
        if not (event.startswith(self.begin) and event.endswith(self.end)):
            return False
        first, last = len(self.begin), len(event) - len(self.end)
        return last >= first and _is_text(event[first:last])

    def holds_framed(self, received: bytes) -> bool:
        """Whether these bytes are one of HTTP's chunks, as `framed` writes it, with an event like this one."""
        begin = self._framed_begins.get(len(received)) or self._framed_begin(received)
        end = self._framed_end
        first, last = len(begin), len(received) - len(end)
        if first > last or not (received.startswith(begin) and received.endswith(end)):
            return False
        text = received[first:last]
        return not text.translate(None, _USUAL) or _is_text(text)

    def _framed_begin(self, received: bytes) -> bytes:
        event = whole_chunk(received)
        if event is None:
            return _NEVER
        begin = framed(event)[: len(received) - len(event) - 2] + self.begin
        if len(self._framed_begins) < _MOST_LENGTHS:
            self._framed_begins[len(received)] = begin
        return begin


def _is_text(written: bytes) -> bool:
    """Whether this may stand between the quotation marks."""
    if _TEXT.fullmatch(written) is None:
        return False
    try:
        written.decode()
    except UnicodeDecodeError:
        return False
    return True
