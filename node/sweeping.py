"""When Python looks for cycles among old objects: while the loop has little to do; in unbroken load after 15 minutes.

A full look takes the longer the more objects there are, 10 to 100 ms, and nothing else happens meanwhile. By itself
Python looks whenever enough has come, which is never while little happens: in the middle of the load, where a pause
leaves a queue that takes several times as long to work off. Young objects are looked through as ever.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import NoReturn

import trio

YOUNG_OBJECTS = 20_000
GENERATIONS = 20
_NEVER = 1_000_000_000

LOOK_S = 5.0
SAMPLE_S = 0.2
QUIET_SHARE = 0.3
"""Of the time in which the loop worked, below which nobody notices a pause."""
LONGEST_S = 900.0


def begin() -> None:
    """Set what has been loaded so far apart, and leave old objects to `Sweeper`."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, GENERATIONS, _NEVER)


def grown() -> bool:
    """Whether some 400,000 objects have been made and kept for a while since the last full look."""
    return gc.get_count()[2] > 0


class Sweeper:
    """The task that looks. What it asks and does may be replaced in tests."""

    def __init__(
        self,
        has_grown: Callable[[], bool] = grown,
        worked_s: Callable[[], float] = time.thread_time,
        sweep: Callable[[], object] = gc.collect,
    ) -> None:
        """`worked_s` is what the loop's thread has used of the processor so far."""
        self._has_grown, self._worked_s, self._sweep = has_grown, worked_s, sweep

    async def run(self) -> NoReturn:
        """Serve until cancelled."""
        swept_s = trio.current_time()
        while True:
            await trio.sleep(LOOK_S)
            if not self._has_grown():
                continue
            if await self._is_quiet() or trio.current_time() - swept_s >= LONGEST_S:
                self._sweep()
                swept_s = trio.current_time()

    async def _is_quiet(self) -> bool:
        before_s = self._worked_s()
        await trio.sleep(SAMPLE_S)
        return self._worked_s() - before_s < QUIET_SHARE * SAMPLE_S
