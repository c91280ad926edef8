"""A cache on disk: LevelDB, with a life for every entry and a bound for all of them together.

An index (key to end of life and size) is read at the start; what is over is deleted then, and when
room is needed what was kept first goes first. A crash loses at most the last entries.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from gossip.effects import Write
from inference.cache import CacheFigures, CacheKind
from node.storage.store import LevelStore

_INDEX, _VALUE = b"i", b"v"
_Standing = tuple[int, int]


class DiskShelf:
    """A `Shelf` for one kind. `now_ms` is Unix time: entries outlive the process."""

    def __init__(self, kind: CacheKind, store: LevelStore, now_ms: Callable[[], int]) -> None:
        self._kind, self._store, self._now_ms = kind, store, now_ms
        self._index: OrderedDict[bytes, _Standing] = OrderedDict()
        self._size_bytes = 0
        self._hits = self._misses = 0
        found = [
            (msgspec.msgpack.decode(data, type=_Standing), key[1:])
            for key, data in store.scan(_INDEX)
        ]
        for standing, key in sorted(found):
            self._index[key] = standing
            self._size_bytes += standing[1]
        self._make_room(0)

    def get(self, key: bytes) -> bytes | None:
        """What is kept under a key."""
        standing = self._index.get(key)
        value = None
        if standing is not None and standing[0] > self._now_ms():
            value = self._store.get(_VALUE + key)
        if value is None:
            self._misses += 1
        else:
            self._hits += 1
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value; one larger than a tenth of all is not kept."""
        if len(value) > self._kind.max_bytes // 10:
            return
        writes = self._make_room(len(value), at_once=False)
        if key in self._index:
            self._size_bytes -= self._index.pop(key)[1]
        standing = (self._now_ms() + self._kind.life_ms, len(value))
        self._index[key] = standing
        self._size_bytes += len(value)
        writes += [
            (_INDEX + key, msgspec.msgpack.encode(standing)),
            (_VALUE + key, value),
        ]
        self._store.write(writes, sync=False)

    def drop(self, key: bytes) -> None:
        """Forget one."""
        standing = self._index.pop(key, None)
        if standing is not None:
            self._size_bytes -= standing[1]
            self._store.write(_deletion(key), sync=False)

    def clear(self) -> None:
        """Forget everything."""
        writes = [write for key in self._index for write in _deletion(key)]
        self._index.clear()
        self._size_bytes = 0
        self._store.write(writes, sync=False)

    def figures(self) -> CacheFigures:
        """As it stands."""
        kind = self._kind
        return CacheFigures(
            kind=kind.title,
            level=kind.level.value,
            entries=len(self._index),
            size_bytes=self._size_bytes,
            max_bytes=kind.max_bytes,
            life_s=kind.life_ms // 1000,
            hits=self._hits,
            misses=self._misses,
        )

    def _make_room(self, size_bytes: int, *, at_once: bool = True) -> list[Write]:
        """Delete what is over, and the oldest until so much more has room."""
        writes: list[Write] = []
        now_ms = self._now_ms()
        while self._index:
            key, (ends_ms, size) = next(iter(self._index.items()))
            if ends_ms > now_ms and self._size_bytes + size_bytes <= self._kind.max_bytes:
                break
            del self._index[key]
            self._size_bytes -= size
            writes += _deletion(key)
        if at_once and writes:
            self._store.write(writes, sync=False)
        return writes


def _deletion(key: bytes) -> list[Write]:
    return [(_INDEX + key, None), (_VALUE + key, None)]
