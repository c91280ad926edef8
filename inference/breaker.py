"""The circuit breaker in front of one server (row R3): a server that keeps failing is left alone.

    closed --5 failures in a row--> open --60 s--> half-open --3 successes--> closed
                                      ^-------------1 failure-----'

A pure core: time is passed in, changes come back as events. Each admitted request must end in one
of `on_success`, `on_failure` and `on_abandoned`.
"""

from __future__ import annotations

from enum import Enum

import msgspec


class BreakerState(Enum):
    """Whether requests pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class BreakerChanged(msgspec.Struct, frozen=True):
    """The breaker went from one state to another."""

    before: BreakerState
    after: BreakerState
    at_ms: int


class BreakerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """When it opens, for how long, and what closes it again."""

    failures_to_open: int = 5
    open_ms: int = 60_000
    successes_to_close: int = 3


class Breaker:
    """One server's. While half-open it admits no more requests than may still close it."""

    def __init__(self, limits: BreakerLimits | None = None) -> None:
        self._limits = limits or BreakerLimits()
        self._state = BreakerState.CLOSED
        self._opened_ms = 0
        self._failures = 0
        self._successes = 0
        self._trials = 0

    def state(self, now_ms: int) -> BreakerState:
        """The state at this time; an open one becomes half-open by waiting alone."""
        if self._state is BreakerState.OPEN and self.wait_ms(now_ms) == 0:
            return BreakerState.HALF_OPEN
        return self._state

    def admits(self, now_ms: int) -> bool:
        """Whether a request may pass now."""
        match self.state(now_ms):
            case BreakerState.CLOSED:
                return True
            case BreakerState.OPEN:
                return False
            case BreakerState.HALF_OPEN:
                return self._trials + self._successes < self._limits.successes_to_close

    def wait_ms(self, now_ms: int) -> int:
        """How long until requests are tried again; 0 if the breaker is not open."""
        if self._state is not BreakerState.OPEN:
            return 0
        return max(0, self._opened_ms + self._limits.open_ms - now_ms)

    def enter(self, now_ms: int) -> list[BreakerChanged]:
        """A request passes; only after `admits` said so."""
        assert self.admits(now_ms)
        if self.state(now_ms) is not BreakerState.HALF_OPEN:
            return []
        changes = []
        if self._state is BreakerState.OPEN:
            changes = self._become(BreakerState.HALF_OPEN, now_ms)
        self._trials += 1
        return changes

    def on_success(self, now_ms: int) -> list[BreakerChanged]:
        """A request that had passed went well."""
        self._failures = 0
        if self._state is not BreakerState.HALF_OPEN:
            return []
        self._end_trial()
        self._successes += 1
        if self._successes < self._limits.successes_to_close:
            return []
        return self._become(BreakerState.CLOSED, now_ms)

    def on_failure(self, now_ms: int) -> list[BreakerChanged]:
        """A request that had passed failed by the server's fault."""
        match self._state:
            case BreakerState.CLOSED:
                self._failures += 1
                if self._failures < self._limits.failures_to_open:
                    return []
                return self._become(BreakerState.OPEN, now_ms)
            case BreakerState.HALF_OPEN:
                return self._become(BreakerState.OPEN, now_ms)
            case BreakerState.OPEN:
                # It began before the breaker opened: what it tells is known.
                return []

    def on_abandoned(self) -> None:
        """The caller gave a request up: it says nothing about the server."""
        if self._state is BreakerState.HALF_OPEN:
            self._end_trial()

    def check_invariants(self) -> None:
        """What holds after every call."""
        assert 0 <= self._failures < self._limits.failures_to_open
        assert 0 <= self._successes < self._limits.successes_to_close
        assert self._trials >= 0
        is_testing = self._state is BreakerState.HALF_OPEN
        assert is_testing or self._trials == self._successes == 0

    def _end_trial(self) -> None:
        # One that began while the breaker was closed may end now: it was never counted.
        self._trials = max(0, self._trials - 1)

    def _become(self, state: BreakerState, now_ms: int) -> list[BreakerChanged]:
        changed = BreakerChanged(self._state, state, now_ms)
        self._state = state
        self._failures = self._successes = self._trials = 0
        if state is BreakerState.OPEN:
            self._opened_ms = now_ms
        return [changed]
