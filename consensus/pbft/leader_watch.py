"""Whether a leader that does decide blocks is good enough: it may neither drag nor leave anybody out.

A timeout alone lets a leader hand out one block in 0.9 timeouts for ever, or serve all but one client (Clement et al.
2009, "Aardvark"; Amir et al. 2008, "Prime"). So what a leader takes for its blocks is watched, and whom it serves.
"""

from __future__ import annotations

_SLOW_BLOCKS = 3


class LeaderWatch:
    """Judges the blocks of the current leader, one after the other."""

    __slots__ = ("_leader", "_slow")

    def __init__(self) -> None:
        self._leader: bytes | None = None
        self._slow = 0

    def is_dragging(self, leader: bytes, took_ms: int, timeout_ms: int) -> bool:
        """Whether the last few blocks of this leader took more than half the timeout each; told of every block."""
        if leader != self._leader:
            self._leader, self._slow = leader, 0
        self._slow = self._slow + 1 if 2 * took_ms > timeout_ms else 0
        if self._slow < _SLOW_BLOCKS:
            return False
        self._slow = 0
        return True
