"""What happened, twice: a running hash over every turn, and one readable line for each transition."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

Print = Callable[[str], None]


class Trace:
    """The record of one run. Equal hashes mean equal runs, event by event."""

    __slots__ = ("_hash", "_print", "is_read")

    def __init__(self, printer: Print | None = None) -> None:
        self._hash = blake2b(digest_size=16)
        self._print = printer
        self.is_read = printer is not None

    def turn(self, now_us: int, process: int, what: bytes) -> None:
        """A core took an event."""
        self._hash.update(b"%d %d " % (now_us, process) + what)

    def line(self, now_us: int, who: str, kind: str, detail: str) -> None:
        """A transition."""
        text = f"{now_us // 1000:>8}.{now_us % 1000:03} {who:<5} {kind:<12} {detail}"
        self._hash.update(text.encode())
        if self._print is not None:
            self._print(text.rstrip())

    @property
    def hash(self) -> str:
        """The hash so far."""
        return self._hash.hexdigest()
