"""Answers kept ready: bounded, each kind with its own life, forgotten when an event makes them stale.

An entry hangs on subjects, as `consensus.projections.rows` has them. When rows of a subject change,
every answer that was made of them goes. Time is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Life(Enum):
    """How long an answer may be given at most, in milliseconds, if no event ends it before."""

    LIST = 60_000
    ITEM = 300_000


Subject = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it is sent."""

    body: bytes
    etag: str
    until_ms: int
    subjects: tuple[Subject, ...]
    height: int


class Cache:
    """See the module; the oldest answers go first when there are more than `most`, or more bytes."""

    def __init__(self, most: int = 10_000, most_bytes: int = 32 * 1024 * 1024) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._kept: dict[str, Kept] = {}
        self._by_subject: dict[Subject, set[str]] = {}
        self._bytes = 0
        self.hits = 0
        self.misses = 0

    def get(self, now_ms: int, name: str) -> Kept | None:
        """The answer to a request, if it is still good."""
        kept = self._kept.get(name)
        if kept is not None and now_ms < kept.until_ms:
            self.hits += 1
            return kept
        self.misses += 1
        if kept is not None:
            self._forget(name)
        return None

    def put(
        self,
        now_ms: int,
        name: str,
        body: bytes,
        etag: str,
        *,
        life: Life,
        subjects: Iterable[Subject],
        height: int = 0,
    ) -> Kept:
        """Keep an answer that was made of these subjects, after the block at this height."""
        self._forget(name)
        kept = Kept(body, etag, now_ms + life.value, tuple(subjects), height)
        self._kept[name] = kept
        self._bytes += len(body)
        for subject in kept.subjects:
            self._by_subject.setdefault(subject, set()).add(name)
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            self._forget(next(iter(self._kept)))
        return kept

    def invalidate(self, projection: str, subjects: frozenset[bytes]) -> None:
        """Rows of these subjects have changed; the empty set stands for all of the projection."""
        if 0 < len(subjects) <= len(self._by_subject):
            stale = [(projection, one) for one in subjects]
        else:
            # A full block changes thousands of subjects; mostly few answers are kept.
            stale = [
                (owner, one)
                for owner, one in self._by_subject
                if owner == projection and (not subjects or one in subjects)
            ]
        for subject in stale:
            for name in tuple(self._by_subject.get(subject, ())):
                self._forget(name)

    def _forget(self, name: str) -> None:
        kept = self._kept.pop(name, None)
        if kept is None:
            return
        self._bytes -= len(kept.body)
        for subject in kept.subjects:
            names = self._by_subject[subject]
            names.discard(name)
            if not names:
                del self._by_subject[subject]

    def __len__(self) -> int:
        return len(self._kept)
