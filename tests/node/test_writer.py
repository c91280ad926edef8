"""Where batches are written: in the loop's thread, or in another one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from node.storage.writer import Writer

SLOW_S = 0.02


def waits() -> None:
    time.sleep(SLOW_S)


def works() -> None:
    until_s = time.thread_time() + SLOW_S
    while time.thread_time() < until_s:
        pass


def nothing() -> None:
    pass


async def is_on_the_spot(
    writer: Writer, write: Callable[[], None] = nothing, rows: int = 1
) -> bool:
    """Have a batch written, and say where it was."""
    places: list[int] = []

    def note() -> None:
        places.append(threading.get_ident())

    await writer.put(rows, [write, note])
    return places == [threading.get_ident()]


async def test_a_quick_disk_is_written_on_the_spot() -> None:
    writer = Writer()
    assert all([await is_on_the_spot(writer) for _ in range(40)])
    assert await is_on_the_spot(writer, rows=2_000)


async def test_a_slow_disk_is_written_in_a_thread() -> None:
    writer = Writer()
    assert all([await is_on_the_spot(writer, waits) for _ in range(3)])
    assert not any([await is_on_the_spot(writer, waits) for _ in range(10)])


async def test_the_work_of_writing_makes_no_disk_slow() -> None:
    writer = Writer()
    assert all([await is_on_the_spot(writer, works) for _ in range(8)])


async def test_a_disk_that_is_quick_again_is_noticed() -> None:
    writer = Writer()
    for _ in range(4):
        await is_on_the_spot(writer, waits)
    assert not await is_on_the_spot(writer)
    for _ in range(16):
        await is_on_the_spot(writer)
    assert all([await is_on_the_spot(writer) for _ in range(40)])


async def test_a_very_large_batch_is_written_in_a_thread() -> None:
    assert not await is_on_the_spot(Writer(), rows=5_000)
