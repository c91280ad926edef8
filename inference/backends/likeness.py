"""Events that are like one that was checked, in all but the text they bring: pure.

Nearly all chunks of a stream differ from the one before in their `content` alone. To find that out costs less than to
decode and check the chunk again, which could come to nothing else.
"""

from __future__ import annotations

import re
from typing import Final, Self

import msgspec

from inference.chat import JsonObject
from inference.sse import DATA

_STRING: Final = rb'(?:[^"\\\x00-\x1f]|\\["\\/bfnrt])*'
"""What stands between the quotation marks of a JSON string, but for its letters written as numbers."""
_PLACE: Final = re.compile(rb'"content" ?: ?"(' + _STRING + rb')"')
_TEXT: Final = re.compile(_STRING)
_OTHER: Final = b"another text"


class Likeness(msgspec.Struct, frozen=True):
    """Events of one line that begin and end like this."""

    begin: bytes
    end: bytes

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
        found = _TEXT.match(event, first, last)
        if found is None or found.end() != last or last < first:
            return False
        return event.isascii() or _is_utf8(event)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
