"""Where batches are written: on the spot while the disk is quick, else in a thread, so that the loop goes on.

A thread costs more than the loop could do meanwhile, for the two would take the interpreter from each other: it pays
where the disk keeps everybody waiting. That is told by how long a batch waits for anything but a processor: on a busy
machine it waits for one most of the time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import trio

_QUICK_S = 0.002
_MOST_ON_THE_SPOT = 2048
"""Rows: a block of some 500 transfers, about two milliseconds."""
_NEWEST_SHARE = 0.05
_LOOKED_AT_EVERY = 16
_NS_A_S = 1e9


class Writer:
    """Of one loop; one batch at a time.

    A disk is as quick as the quickest of its last answers. Only what is written on the spot tells, and some of it
    always is: a thread waits for the interpreter too.
    """

    def __init__(self) -> None:
        self._wait_s = 0.0
        """How long the disk keeps a batch waiting. Falls at once, and rises slowly."""
        self._batches = 0

    async def put(self, rows: int, writes: Sequence[Callable[[], None]]) -> None:
        """Do these, which write so many rows, one after the other. Raises what they raise."""
        self._batches += 1
        is_quick = self._wait_s < _QUICK_S or not self._batches % _LOOKED_AT_EVERY
        if not is_quick or rows > _MOST_ON_THE_SPOT:
            await trio.to_thread.run_sync(_do, writes)
            return
        began_s, excused_s = time.perf_counter(), _processor.excused_s()
        _do(writes)
        taken_s = time.perf_counter() - began_s
        wait_s = taken_s - (_processor.excused_s() - excused_s)
        self._wait_s = min(wait_s, self._wait_s + _NEWEST_SHARE * (wait_s - self._wait_s))


def _do(writes: Sequence[Callable[[], None]]) -> None:
    for write in writes:
        write()


class _Processor(threading.local):
    """Linux's count of how long a thread has waited for a processor; nothing where there is none."""

    def __init__(self) -> None:
        self._counts: int | None = None
        with suppress(OSError):
            self._counts = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def excused_s(self) -> float:
        """How long this thread has used a processor, or waited for one."""
        queued_ns = 0 if self._counts is None else int(os.pread(self._counts, 64, 0).split()[1])
        return time.thread_time() + queued_ns / _NS_A_S


_processor = _Processor()
