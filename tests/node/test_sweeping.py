"""Old objects are looked through when nobody waits, on a clock that the test turns."""

from __future__ import annotations

import gc

import trio
from trio.testing import MockClock

from node import sweeping
from node.sweeping import LONGEST_S, LOOK_S, Sweeper


class Loop:
    """A loop that works a share of its time, on the clock of the test."""

    def __init__(self, share: float, *, has_grown: bool = True) -> None:
        self.share, self.has_grown, self.swept_s = share, has_grown, list[float]()
        self._began_s = trio.current_time()

    def worked_s(self) -> float:
        return self.share * trio.current_time()

    def sweep(self) -> None:
        self.swept_s.append(trio.current_time() - self._began_s)

    async def run(self, seconds: float) -> list[float]:
        sweeper = Sweeper(lambda: self.has_grown, self.worked_s, self.sweep)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sweeper.run)
            await trio.sleep(seconds)
            nursery.cancel_scope.cancel()
        return self.swept_s


async def test_a_quiet_loop_is_swept_soon(autojump_clock: MockClock) -> None:
    (first, *_) = await Loop(0.05).run(20)
    assert first < 2 * LOOK_S


async def test_a_busy_one_once_in_a_long_while(autojump_clock: MockClock) -> None:
    first, second = await Loop(0.9).run(2 * LONGEST_S + 3 * LOOK_S)
    assert LONGEST_S <= first < LONGEST_S + 2 * LOOK_S
    assert LONGEST_S <= second - first < LONGEST_S + 2 * LOOK_S


async def test_one_that_makes_nothing_new_never(autojump_clock: MockClock) -> None:
    assert await Loop(0.01, has_grown=False).run(10 * LONGEST_S) == []


async def test_a_daemon_looks_through_old_objects_only_when_told() -> None:
    before = gc.get_threshold()
    try:
        sweeping.begin()
        gc.collect()
        young = gc.get_threshold()
        gc.set_threshold(5, 2, young[2])
        kept = [[one] for one in range(2_000)]
        assert len(kept) == 2_000
        assert sweeping.grown()
        full = gc.get_stats()[2]["collections"]
        kept += [[one] for one in range(2_000)]
        assert gc.get_stats()[2]["collections"] == full
        gc.collect()
        assert not sweeping.grown()
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
