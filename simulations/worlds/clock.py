"""What a node's own clock shows: the true time, and how far it is off."""

from __future__ import annotations

_MILLION = 1_000_000


class Clock:
    """One node's clock. The world says what happens to it; all times are microseconds of virtual time."""

    __slots__ = ("_drift_ppm", "_own_ppm", "_since_us", "_skew_us", "_stopped_us", "_wrong_us")

    def __init__(self, created_ms: int, skew_ms: int, drift_ppm: int) -> None:
        self._skew_us = (created_ms + skew_ms) * 1000
        self._own_ppm = self._drift_ppm = drift_ppm
        self._wrong_us = self._since_us = 0
        self._stopped_us: int | None = None

    def show_ms(self, now_us: int) -> int:
        """What it shows."""
        if self._stopped_us is not None:
            now_us = self._stopped_us
        shown = self._skew_us + self._wrong_us + now_us
        if self._drift_ppm:
            shown += (now_us - self._since_us) * self._drift_ppm // _MILLION
        return shown // 1000 if shown > 0 else 0

    def span_us(self, by_clock_us: int) -> int:
        """How long a timer really runs."""
        if not self._drift_ppm:
            return by_clock_us
        return by_clock_us * _MILLION // (_MILLION + self._drift_ppm)

    def step(self, by_ms: int) -> None:
        """It is set forward, or back."""
        self._wrong_us += by_ms * 1000

    def drift(self, now_us: int, by_ppm: int | None) -> None:
        """From now on it runs too fast by so much; None: as it did at first."""
        self._wrong_us += (now_us - self._since_us) * self._drift_ppm // _MILLION
        self._since_us = now_us
        self._drift_ppm = self._own_ppm if by_ppm is None else by_ppm

    def stop(self, now_us: int) -> None:
        """It stands still."""
        self._stopped_us = now_us

    def go_on(self) -> None:
        """It shows the right time again."""
        self._stopped_us = None

    def set_right(self, now_us: int) -> None:
        """Nothing is left but its skew."""
        self._wrong_us = self._drift_ppm = self._own_ppm = 0
        self._since_us, self._stopped_us = now_us, None
