"""Caches with a life and a size each (row I9): the table, and the one in memory. Pure: time is passed in."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import Final, Generic, TypeVar

import msgspec

_MINUTE_S: Final = 60
_HOUR_S: Final = 60 * _MINUTE_S
_MB: Final = 1_000_000

Value = TypeVar("Value")


class Level(Enum):
    """Where a cache is."""

    MEMORY = "L1"
    DISK = "L2"
    FEDERATION = "L3"


class CacheKind(Enum):
    """What is cached: its level, how long it lives in seconds, and how many bytes at most."""

    EMBEDDINGS = ("embeddings", Level.MEMORY, 5 * _MINUTE_S, 1_000 * _MB)
    RESPONSES = ("responses", Level.DISK, _HOUR_S, 2_000 * _MB)
    SHARED = ("shared-answers", Level.FEDERATION, 30 * 24 * _HOUR_S, 1_000 * _MB)

    def __init__(self, title: str, level: Level, life_s: int, max_bytes: int) -> None:
        self.title, self.level = title, level
        self.life_ms, self.max_bytes = life_s * 1000, max_bytes


class CacheFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One cache as it stands."""

    kind: str
    level: str
    entries: int
    size_bytes: int
    max_bytes: int
    life_s: int
    hits: int
    misses: int

    @property
    def hit_rate(self) -> float | None:
        """The share of look-ups that found something."""
        asked = self.hits + self.misses
        return round(self.hits / asked, 4) if asked else None


class _Entry(msgspec.Struct, Generic[Value], frozen=True):
    value: Value
    size_bytes: int
    ends_ms: int


class MemoryCache(Generic[Value]):
    """The least recently used goes first. An entry larger than a tenth of all is not kept."""

    def __init__(self, kind: CacheKind) -> None:
        self._kind = kind
        self._entries: OrderedDict[bytes, _Entry[Value]] = OrderedDict()
        self._size_bytes = 0
        self._hits = self._misses = 0

    def get(self, key: bytes, now_ms: int) -> Value | None:
        """What is kept under a key."""
        entry = self._entries.get(key)
        if entry is None or entry.ends_ms <= now_ms:
            if entry is not None:
                self._drop(key)
            self._misses += 1
            return None
        self._entries.move_to_end(key)
        self._hits += 1
        return entry.value

    def put(self, key: bytes, value: Value, size_bytes: int, now_ms: int) -> None:
        """Keep a value of this size."""
        if key in self._entries:
            self._drop(key)
        if size_bytes > self._kind.max_bytes // 10:
            return
        self._entries[key] = _Entry(value, size_bytes, now_ms + self._kind.life_ms)
        self._size_bytes += size_bytes
        while self._size_bytes > self._kind.max_bytes:
            self._drop(next(iter(self._entries)))

    def drop_old(self, now_ms: int) -> None:
        """Give the memory free of what nobody may see any more."""
        for key in [key for key, entry in self._entries.items() if entry.ends_ms <= now_ms]:
            self._drop(key)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._size_bytes = 0

    def figures(self) -> CacheFigures:
        """As it stands."""
        kind = self._kind
        return CacheFigures(
            kind=kind.title,
            level=kind.level.value,
            entries=len(self._entries),
            size_bytes=self._size_bytes,
            max_bytes=kind.max_bytes,
            life_s=kind.life_ms // 1000,
            hits=self._hits,
            misses=self._misses,
        )

    def check_invariants(self) -> None:
        """What holds after every call."""
        assert self._size_bytes == sum(entry.size_bytes for entry in self._entries.values())
        assert self._size_bytes <= self._kind.max_bytes

    def _drop(self, key: bytes) -> None:
        self._size_bytes -= self._entries.pop(key).size_bytes
