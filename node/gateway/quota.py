"""How many requests each caller may make: a bucket for each token or address that fills up evenly.

A caller that has been quiet may make as many requests at once as it may make in `BURST_S` seconds. Time is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass

BURST_S = 10
_MOST_CALLERS = 10_000


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to one request. `reset_s` is when the bucket is full again, `retry_s` when one more fits."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: int
    retry_s: int


@dataclass(slots=True)
class _Bucket:
    level: float
    at_s: float


class Quotas:
    """See the module. `per_s` is what each caller may make in a second for good."""

    def __init__(self, per_s: float) -> None:
        self._per_s, self._size = per_s, per_s * BURST_S
        self._buckets: dict[str, _Bucket] = {}

    def take(self, now_s: float, caller: str, cost: float = 1) -> Grant:
        """Count a request, if it may be made."""
        bucket = self._buckets.pop(caller, None) or _Bucket(self._size, now_s)
        self._buckets[caller] = bucket  # the one that was quiet for longest stands first
        if len(self._buckets) > _MOST_CALLERS:
            del self._buckets[next(iter(self._buckets))]
        passed_s = max(0.0, now_s - bucket.at_s)
        bucket.level = min(self._size, bucket.level + passed_s * self._per_s)
        bucket.at_s = now_s
        allowed = bucket.level >= cost
        if allowed:
            bucket.level -= cost
        missing = max(0.0, cost - bucket.level)
        return Grant(
            allowed,
            int(self._size),
            int(bucket.level),
            _ceiling((self._size - bucket.level) / self._per_s),
            max(1, _ceiling(missing / self._per_s)),
        )


def _ceiling(seconds: float) -> int:
    return -int(-seconds // 1)
