"""The watch over silent streams, on a virtual clock."""

from __future__ import annotations

import math

import trio
import trio.testing

from inference.backends.silence import Patience, watch


async def test_who_waits_for_longer_than_its_limit_is_cut_off_then(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cut = trio.Event()
    patience = watch(5, cut.set)
    began = trio.current_time()
    patience.begins()
    await cut.wait()
    assert patience.is_over
    assert math.isclose(trio.current_time() - began, 5)


async def test_each_chunk_begins_the_time_anew_and_a_slow_caller_costs_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cut = trio.Event()
    patience = watch(5, cut.set)
    for _ in range(4):
        patience.begins()
        await trio.sleep(4)
        patience.pauses()
        await trio.sleep(100)
    assert not cut.is_set()
    patience.begins()
    await trio.sleep(5.1)
    assert cut.is_set()


async def test_the_limits_of_others_do_not_count_and_neither_do_streams_that_have_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    over: list[str] = []

    def begun(name: str, limit_s: float) -> Patience:
        patience = watch(limit_s, lambda: over.append(name))
        patience.begins()
        return patience

    begun("long", 50)
    await trio.sleep(1)
    begun("short", 2)
    begun("ended", 3).ends()
    await trio.sleep(10)
    assert over == ["short"]
    await trio.sleep(40)
    assert over == ["short", "long"]
