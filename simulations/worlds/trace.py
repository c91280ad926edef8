"""What happened, twice: a running hash over every turn, and one readable line for each transition.

Who listens hears each transition, and each message if it wants to, as a value that prints as a line or as JSON.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import blake2b

import msgspec

MARK_CHARS = 2
"""So many base64 characters, 12 bits, stand for the run up to a line."""


def _clock(t_us: int) -> str:
    return f"{t_us // 1000:>8}.{t_us % 1000:03}"


def _shown(t_us: int, who: str, kind: str, detail: str) -> str:
    ms, us = divmod(t_us, 1000)
    return f"{ms:8}.{us:03} {who.ljust(5)} {kind.ljust(12)} {detail}".rstrip()


class Transition(msgspec.Struct, frozen=True):
    """Something that a reader wants to know of."""

    t_us: int
    who: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return _shown(self.t_us, self.who, self.kind, self.detail)


class Message(msgspec.Struct, frozen=True):
    """A message, when it was sent."""

    t_us: int
    who: str
    to: str
    detail: str
    arrives_us: list[int]
    """When each copy arrives; empty if it is lost."""
    kind: str = "message"

    def __str__(self) -> str:
        arrival = " ".join(_clock(one).strip() for one in self.arrives_us) or "lost"
        return f"{_clock(self.t_us)} {self.who:<5} {'-> ' + self.to:<12} {self.detail}  {arrival}"


Entry = Transition | Message
Hear = Callable[[Entry], None]


class Trace:
    """The record of one run. Equal hashes mean equal runs, event by event."""

    __slots__ = ("_hash", "_hear", "_marks", "is_read", "lines", "wants_messages")

    def __init__(self, hear: Hear | None = None, *, messages: bool = False) -> None:
        self._hash = blake2b(digest_size=16)
        self._hear = hear
        self._marks: list[str] = []
        self.lines = 0
        self.is_read = hear is not None
        self.wants_messages = messages and hear is not None

    def turn(self, now_us: int, process: bytes, what: bytes) -> None:
        """A core took an event; see `Process.mark`."""
        self._hash.update(str(now_us).encode() + process + what)

    def line(self, now_us: int, who: str, kind: str, detail: str) -> str:
        """A transition; its text."""
        text = _shown(now_us, who, kind, detail)
        self._hash.update(text.encode())
        self.lines += 1
        if self._hear is not None:
            mark = urlsafe_b64encode(self._hash.digest()[:3]).decode()
            self._marks.append(mark[:MARK_CHARS])
            self._hear(Transition(now_us, who, kind, detail))
        return text

    def message(self, entry: Message) -> None:
        """A message was sent; part of no hash, for what becomes of it is."""
        if self._hear is not None:
            self._hear(entry)

    @property
    def hash(self) -> str:
        """The hash so far."""
        return self._hash.hexdigest()

    @property
    def marks(self) -> str:
        """Two characters for each line, that tell the run up to there from any other; only if somebody listens."""
        return "".join(self._marks)
