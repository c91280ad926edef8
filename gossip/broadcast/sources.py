"""The numbers of one series that have come: what is a duplicate, what is missing, what is lost. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MAX_AHEAD: Final = 4096
"""So many numbers above the first missing one are kept; beyond that the oldest missing ones are given up."""

_BEFORE: Final = 64


@dataclass(slots=True)
class Source:
    """`low`: all numbers up to it have come, or were given up. `above` are those beyond it that have come.

    `first` is the first number that was ever seen: what came before it may still come, and is not missed.
    """

    first: int
    low: int
    above: set[int] = field(default_factory=set)
    since_ms: dict[int, int] = field(default_factory=dict)

    @classmethod
    def beginning_at(cls, number: int) -> Source:
        """A series that was heard of by this number."""
        return cls(number, max(0, number - 1 - _BEFORE))

    def has(self, number: int) -> bool:
        """Whether it has come before, or was given up."""
        return number <= self.low or number in self.above

    def take(self, now_ms: int, number: int) -> list[int]:
        """A number has come for the first time; the numbers that are given up for it."""
        top = max(self.above, default=self.low)
        for missing in range(max(top, self.first) + 1, min(number, top + MAX_AHEAD + 1)):
            self.since_ms[missing] = now_ms
        self.above.add(number)
        self.since_ms.pop(number, None)
        lost = []
        while max(self.above) - self.low > MAX_AHEAD:
            self.low += 1
            if self.low in self.above:
                self.above.discard(self.low)
            elif self.since_ms.pop(self.low, None) is not None:
                lost.append(self.low)
        self._settle()
        return lost

    def missing(self) -> list[int]:
        """Numbers that must have been sent and have not come."""
        return sorted(self.since_ms)

    def give_up(self, before_ms: int) -> list[int]:
        """Count as lost what has been missing since before that time."""
        lost = [number for number, since_ms in self.since_ms.items() if since_ms < before_ms]
        for number in lost:
            del self.since_ms[number]
            self.above.add(number)
        self._settle()
        return sorted(lost)

    def _settle(self) -> None:
        while self.low + 1 in self.above:
            self.low += 1
            self.above.discard(self.low)
