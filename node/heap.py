"""One heap for all threads of the daemon, so that memory stays flat.

glibc gives threads heaps of their own, each of which keeps what its largest moment took: what is free in one is of no
use to the others. LevelDB's memtables, 4 MB each, are filled by one thread and freed by another, in turns.
`docs/BENCHMARKS.md`, "What lasts", says what that came to.
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8
"""glibc's number for how many heaps there may be (malloc.h)."""


def share_heap() -> bool:
    """All threads take from one heap, if there are none yet; False where the C library knows no such thing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_ARENA_MAX, 1) == 1
