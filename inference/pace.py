"""How many requests a minute a server is sent at most: the generic cell rate algorithm (ITU-T I.371). Pure."""

from __future__ import annotations

from typing import Final

_MINUTE_MS: Final = 60_000
_BURST_SHARE: Final = 6
"""A sixth of a minute's requests may come at once."""


class Pace:
    """`per_minute` 0 is no bound."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._step_ms = _MINUTE_MS / per_minute if per_minute else 0.0
        burst = max(1, per_minute // _BURST_SHARE)
        self._ahead_ms = self._step_ms * (burst - 1)
        self._due_ms = 0.0
        """When the next request would be due if all came evenly."""

    def wait_ms(self, now_ms: int) -> int:
        """How long until one more may go; 0 if now."""
        if not self.per_minute:
            return 0
        early_ms = self._due_ms - self._ahead_ms - now_ms
        return -int(-early_ms // 1) if early_ms > 0 else 0

    def take(self, now_ms: int) -> None:
        """One goes; only after `wait_ms` was 0."""
        if self.per_minute:
            assert self.wait_ms(now_ms) == 0
            self._due_ms = max(self._due_ms, float(now_ms)) + self._step_ms
