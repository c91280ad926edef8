"""A node's databases, with what LevelDB promises: a batch is written whole or not at all, and kept once it is synced.

Batches that are not synced yet can be read, and are lost by a crash: the latest first, whole ones only, in each
database by itself, but that what was written after a lost batch of a database that is synced earlier is lost too. A
lazy batch is synced along with the next that is not. A record may rot; whoever reads it is told,
as LevelDB's checksums do, or is given what is left.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

from gossip.effects import Write
from simulations.worlds.draws import Draws


class CorruptionError(Exception):
    """A record is damaged, and its checksum says so."""


class MemoryStore:
    """One database. It outlives the process that writes to it."""

    __slots__ = ("_is_sorted", "_keys", "_rotten", "_unsynced", "_values")

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] | None = None
        self._is_sorted = True
        self._unsynced: deque[tuple[int | None, tuple[Write, ...], int]] = deque()
        """When each batch will be synced (None: with the next that is), what undoes it, its number; oldest first."""
        self._rotten: set[bytes] = set()

    def get(self, key: bytes) -> bytes | None:
        """See `KeyValueReader`. Raises `CorruptionError`."""
        if self._rotten and key in self._rotten:
            raise CorruptionError(f"the record {key.hex()} fails its checksum")
        return self._values.get(key)

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """See `KeyValueReader`. Raises `CorruptionError`."""
        if self._keys is None:
            self._keys, self._is_sorted = sorted(self._values), True
        if not self._is_sorted:  # what has come since stands at the end
            self._keys.sort()
            self._is_sorted = True
        keys, values = self._keys, self._values
        found: list[tuple[bytes, bytes]] = []
        for place in range(bisect_left(keys, prefix), len(keys)):
            if not keys[place].startswith(prefix):
                break
            found.append((keys[place], values[keys[place]]))
        if self._rotten:
            for key, _ in found:
                self.get(key)
        return found

    def write(
        self,
        writes: tuple[Write, ...],
        synced_us: int | None = None,
        *,
        lazy: bool = False,
        number: int = 0,
    ) -> None:
        """One atomic batch, synced at `synced_us` (None: at once), or with the next one if it is lazy.

        `number` grows from batch to batch, whichever database they go to.
        """
        if lazy or synced_us is not None:
            undo = tuple((key, self._values.get(key)) for key, _ in reversed(writes))
            if not lazy and self._unsynced:
                self._unsynced = deque(
                    (synced_us if due is None else due, one, earlier)
                    for due, one, earlier in self._unsynced
                )
            self._unsynced.append((None if lazy else synced_us, undo, number))
        elif self._unsynced:
            self._unsynced.clear()
        if self._rotten:
            self._rotten.difference_update(key for key, _ in writes)
        self._apply(writes)

    def _apply(self, writes: tuple[Write, ...]) -> None:
        values, keys = self._values, self._keys
        for key, value in writes:
            if value is None:
                if values.pop(key, None) is not None:
                    self._keys = keys = None
            else:
                if keys is not None and key not in values:
                    keys.append(key)
                    self._is_sorted = False
                values[key] = value

    def sync(self, now_us: int) -> None:
        """What was to be synced by now is."""
        while self._unsynced:
            due_us = self._unsynced[0][0]
            if due_us is None or due_us > now_us:
                return
            self._unsynced.popleft()

    def sync_all(self) -> None:
        """Everything is on disk after all."""
        self._unsynced.clear()

    @property
    def unsynced(self) -> int:
        """How many batches a crash could lose now."""
        return len(self._unsynced)

    def written_after(self, number: int) -> int:
        """How many of them were written after the batch of this number."""
        return sum(one > number for _, _, one in self._unsynced)

    def first_of(self, batches: int) -> int | None:
        """The number of the first of the last so many batches; those that wait for another's sync don't count."""
        last = list(self._unsynced)[-batches:] if batches else []
        return next((number for due, _, number in last if due is not None), None)

    def lose(self, batches: int) -> None:
        """A crash: the last `batches` of those that are not synced are gone, the others have come through."""
        for _ in range(batches):
            self._apply(self._unsynced.pop()[1])
        self._unsynced.clear()

    def power_off(self) -> None:
        """The process dies: what was not synced is gone."""
        self.lose(len(self._unsynced))

    def rot(self, draws: Draws, *identity: object, unchecked: bool) -> bytes | None:
        """One record, drawn by luck, loses a bit; its key, or None if there is none."""
        keys = sorted(key for key, value in self._values.items() if value)
        if not keys:
            return None
        key = keys[draws.below(len(keys), "rotten", *identity)]
        value = bytearray(self._values[key])
        bit = draws.below(8 * len(value), "rotten-bit", *identity)
        value[bit // 8] ^= 1 << bit % 8
        self._values[key] = bytes(value)
        if not unchecked:
            self._rotten.add(key)
        return key

    def wipe(self) -> None:
        """What no sound disk does: forget everything."""
        self._values, self._keys = {}, None
        self._unsynced.clear()
        self._rotten.clear()
