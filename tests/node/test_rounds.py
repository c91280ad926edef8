"""Services that look around now and then do it together."""

from collections import Counter

import trio
from trio.testing import MockClock

from node.rounds import next_round


async def test_all_look_at_the_same_moments_however_long_they_look(
    autojump_clock: MockClock,
) -> None:
    looks: Counter[float] = Counter()

    async def look(after_s: float, takes_s: float) -> None:
        await trio.sleep(after_s)
        while True:
            await next_round(1.0)
            looks[trio.current_time()] += 1
            await trio.sleep(takes_s)

    begun_s = trio.current_time() // 1
    async with trio.open_nursery() as nursery:
        for after_s, takes_s in ((0.1, 0.0), (0.25, 0.3), (0.7, 0.9)):
            nursery.start_soon(look, after_s, takes_s)
        await trio.sleep_until(begun_s + 5.5)
        nursery.cancel_scope.cancel()
    assert looks == {begun_s + second: 3 for second in (1, 2, 3, 4, 5)}
    del autojump_clock
