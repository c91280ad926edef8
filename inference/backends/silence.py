"""How long streams may be silent: one watch over all of them. A time limit around each chunk costs more than the chunk.

    patience = watch(limit_s, reply.cut)
    patience.begins()     # it waits from now on
    ...                   # the chunk is here
    patience.pauses()
    ...
    patience.ends()

Who waits for longer than its limit is cut off, and `is_over` is set.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import trio


class Patience:
    """With one stream. What is not waited for is not counted: a caller may be as slow as it likes."""

    __slots__ = ("_cut", "_now_s", "_watch", "is_over", "limit_s", "since_s")

    def __init__(self, watch: _Watch, limit_s: float, cut: Callable[[], None]) -> None:
        self._watch, self.limit_s, self._cut = watch, limit_s, cut
        self._now_s = trio.lowlevel.current_clock().current_time
        self.since_s = math.inf
        self.is_over = False

    def begins(self) -> None:
        """Something is waited for from now on. Other threads may say so too."""
        self.since_s = self._now_s()

    def pauses(self) -> None:
        """It came."""
        self.since_s = math.inf

    def ends(self) -> None:
        """The stream is over."""
        self._watch.watched.discard(self)

    def due_s(self, now_s: float) -> float:
        """Before this time it can't be over."""
        return min(self.since_s, now_s) + self.limit_s

    def look(self, now_s: float) -> None:
        """Cut it off if it is over."""
        if now_s >= self.since_s + self.limit_s:
            self.is_over = True
            self.ends()
            self._cut()


class _Watch:
    """Looks when the first of all could be over; nobody has to tell it of a chunk."""

    def __init__(self) -> None:
        self.watched: set[Patience] = set()
        self._asleep: trio.CancelScope | None = None

    def enter(self, patience: Patience) -> None:
        self.watched.add(patience)
        due_s = patience.due_s(trio.current_time())
        if self._asleep is not None and due_s < self._asleep.deadline:
            self._asleep.deadline = due_s

    async def run(self) -> None:
        while True:
            now_s = trio.current_time()
            for one in tuple(self.watched):
                one.look(now_s)
            due_s = min((one.due_s(now_s) for one in self.watched), default=math.inf)
            with trio.CancelScope(deadline=due_s) as self._asleep:
                await trio.sleep_forever()


_WATCH: Final[trio.lowlevel.RunVar[_Watch]] = trio.lowlevel.RunVar("silence")


def watch(limit_s: float, cut: Callable[[], None]) -> Patience:
    """A patience of this length with one stream; must be ended."""
    try:
        found = _WATCH.get()
    except LookupError:
        found = _Watch()
        _WATCH.set(found)
        trio.lowlevel.spawn_system_task(found.run, name="silence")
    patience = Patience(found, limit_s, cut)
    found.enter(patience)
    return patience
