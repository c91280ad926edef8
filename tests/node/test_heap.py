"""How many heaps the threads of a process have, as the C library counts them."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

_THREADS = """
import ctypes, sys, threading
from node.heap import share_heap
if sys.argv[1] == "shared":
    assert share_heap()
all_here = threading.Barrier(4)
def work():
    all_here.wait()
    kept = [bytearray(50_000) for _ in range(20)]
    all_here.wait()
some = [threading.Thread(target=work) for _ in range(4)]
for one in some: one.start()
for one in some: one.join()
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_stats"), reason="not glibc")
def test_all_threads_share_one_heap_once_they_are_told_to() -> None:
    def heaps(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", _THREADS, how], capture_output=True, check=True, text=True
        )
        return done.stderr.count("Arena ")

    assert heaps("shared") == 1
    assert heaps("not shared") > 1
