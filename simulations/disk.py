"""A node's databases, with what LevelDB promises of a synced batch: all of it survives, or none of it was written.

A lazy batch survives if a synced one follows before the process dies.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from gossip.effects import Write


class MemoryStore:
    """One database. It outlives the process that writes to it."""

    __slots__ = ("_keys", "_unsynced", "_values")

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] | None = None
        self._unsynced: dict[bytes, bytes | None] = {}
        """What stood under the keys that were written lazily since the last synced batch."""

    def get(self, key: bytes) -> bytes | None:
        """See `KeyValueReader`."""
        return self._values.get(key)

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """See `KeyValueReader`."""
        if self._keys is None:
            self._keys = sorted(self._values)
        keys, values = self._keys, self._values
        found: list[tuple[bytes, bytes]] = []
        for place in range(bisect_left(keys, prefix), len(keys)):
            if not keys[place].startswith(prefix):
                break
            found.append((keys[place], values[keys[place]]))
        return found

    def write(self, writes: tuple[Write, ...], *, lazy: bool = False) -> None:
        """One atomic batch, synced unless it is lazy."""
        values = self._values
        if lazy:
            for key, _ in writes:
                self._unsynced.setdefault(key, values.get(key))
        else:
            self._unsynced.clear()
        for key, value in writes:
            if value is None:
                if values.pop(key, None) is not None:
                    self._keys = None
            else:
                if self._keys is not None and key not in values:
                    insort(self._keys, key)
                values[key] = value

    def power_off(self) -> None:
        """The process dies: what was not synced is gone."""
        self.write(tuple(self._unsynced.items()))

    def wipe(self) -> None:
        """What no sound disk does: forget everything."""
        self._values, self._keys = {}, None
        self._unsynced.clear()
