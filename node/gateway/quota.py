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
    per_s: float


class Quotas:
    """See the module. `per_s` is what each caller may make in a second for good."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._buckets: dict[str, _Bucket] = {}

    def take(self, now_s: float, caller: str, per_s: float | None = None) -> Grant:
        """Count a request, if it may be made. `per_s` is for a caller with a rate of its own."""
        rate = self._per_s if per_s is None else per_s
        size = rate * BURST_S
        bucket = self._buckets.pop(caller, None)
        if bucket is None or bucket.per_s != rate:
            bucket = _Bucket(size, now_s, rate)
        self._buckets[caller] = bucket  # the one that was quiet for longest stands first
        if len(self._buckets) > _MOST_CALLERS:
            del self._buckets[next(iter(self._buckets))]
        passed_s = max(0.0, now_s - bucket.at_s)
        bucket.level = min(size, bucket.level + passed_s * rate)
        bucket.at_s = now_s
        allowed = bucket.level >= 1
        if allowed:
            bucket.level -= 1
        return Grant(
            allowed,
            int(size),
            int(bucket.level),
            _ceiling((size - bucket.level) / rate),
            max(1, _ceiling(max(0.0, 1 - bucket.level) / rate)),
        )


def _ceiling(seconds: float) -> int:
    return -int(-seconds // 1)
