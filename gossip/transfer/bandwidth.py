"""Who may send next under a cap of bytes a second: a bucket for all, urgent ones first. Pure."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from gossip.transfer.messages import Priority

_BURST_MS = 250


@dataclass(slots=True)
class Bandwidth:
    """`bytes_per_s` is the cap; None is none.

    Whoever wants to send takes a ticket by `ask`, and may when `grant` names it. A single message may overdraw the
    bucket by its own size, and those behind it wait the longer.
    """

    bytes_per_s: int | None
    _waiting: list[tuple[Priority, int, int]] = field(default_factory=list)
    _gone: set[int] = field(default_factory=set)
    _tickets: int = 0
    _room_bytes: float = 0.0
    _filled_ms: int | None = None

    def ask(self, priority: Priority, size_bytes: int) -> int:
        """A ticket for sending so many bytes."""
        self._tickets += 1
        heapq.heappush(self._waiting, (priority, self._tickets, size_bytes))
        return self._tickets

    def give_back(self, ticket: int) -> None:
        """Whoever holds a ticket that was not granted wants nothing any more."""
        self._gone.add(ticket)

    def grant(self, now_ms: int) -> list[int]:
        """The tickets whose turn it is, in their order."""
        self._fill(now_ms)
        granted: list[int] = []
        while self._waiting:
            _, ticket, size_bytes = self._waiting[0]
            if ticket in self._gone:
                self._gone.discard(ticket)
            elif self.bytes_per_s is None or self._room_bytes > 0:
                self._room_bytes -= 0 if self.bytes_per_s is None else size_bytes
                granted.append(ticket)
            else:
                break
            heapq.heappop(self._waiting)
        return granted

    def due_ms(self, now_ms: int) -> int | None:
        """When the next ticket can be granted, or None if nobody waits."""
        if not self._waiting or self.bytes_per_s is None:
            return None
        lacking = max(0.0, -self._room_bytes)
        return now_ms + int(1000 * lacking / self.bytes_per_s) + 1

    def _fill(self, now_ms: int) -> None:
        if self.bytes_per_s is None:
            return
        burst_bytes = self.bytes_per_s * _BURST_MS / 1000
        if self._filled_ms is None:
            self._room_bytes = burst_bytes
        else:
            fresh = self.bytes_per_s * max(0, now_ms - self._filled_ms) / 1000
            self._room_bytes = min(burst_bytes, self._room_bytes + fresh)
        self._filled_ms = now_ms
