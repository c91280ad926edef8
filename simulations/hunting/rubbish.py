"""How often Python looks for cycles of objects while scenarios run: seldom, and never among what was there before.

A run makes few cycles and many objects. Looking for the ones after each 700 of the others costs most in passes over all
modules and their functions.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_COLLECTED = (50_000, 20, 20)


def collect_seldom() -> None:
    """For as long as the process lives."""
    gc.freeze()
    gc.set_threshold(*_COLLECTED)


@contextmanager
def collected_seldom() -> Iterator[None]:
    """For a while."""
    former = gc.get_threshold()
    collect_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*former)
        gc.unfreeze()
