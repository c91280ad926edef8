"""When the services of a node look around: all at the same moments.

Waking up costs an idle process more than what it then finds to do, so whoever only looks now and then does it together
with the others.
"""

from __future__ import annotations

import trio


async def next_round(every_s: float) -> None:
    """Sleep until the loop's clock next shows a multiple of `every_s`."""
    rounds_s = trio.current_time() // every_s * every_s
    await trio.sleep_until(rounds_s + every_s)
