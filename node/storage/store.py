"""LevelDB behind the key-value interface of the cores, and what is decided but not yet on disk.

LevelDB's own lock can be lost (a second open that fails in the owning process releases it), so each
database has a lock file beside it. Damage is told, never repaired: `repair_db` would silently leave
out what it can't read.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, Self

import plyvel

from gossip.effects import Write
from node.errors import NodeError


class StoreFault(Enum):
    """What is wrong with a database."""

    DAMAGED = "damaged"
    MISSING = "missing"
    LOCKED = "locked"
    FAILED = "failed"


class StoreError(NodeError):
    """A database can't be used; the text names it and what to do."""

    def __init__(self, fault: StoreFault, text: str) -> None:
        super().__init__(text)
        self.fault = fault


class LevelStore:
    """One LevelDB database, opened once. Reads check checksums; writes are atomic batches.

    Raises `StoreError` from everything. With `create` a database that isn't there is made; without
    it, that is an error, for a lost database must not look like a new one. What is soon deleted or
    written over, or mostly hashes, is not worth the CPU of being `packed`; either way reads what the other wrote.
    """

    def __init__(self, path: Path, *, create: bool = False, packed: bool = True) -> None:
        self.path = path
        if create:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not path.is_dir():
            raise _missing(path)
        _refuse_headless(path)
        self._lock = _locked(path)
        try:
            with _told(path):
                self._db = plyvel.DB(
                    str(path),
                    create_if_missing=create,
                    paranoid_checks=True,
                    compression="snappy" if packed else None,
                )
        except BaseException:
            os.close(self._lock)
            raise

    def get(self, key: bytes) -> bytes | None:
        """See `KeyValueReader.get`."""
        try:  # not `_told`, which takes as long as the read
            value: bytes | None = self._db.get(key, verify_checksums=True)
        except plyvel.Error as error:
            raise _as_sentence(error, self.path) from None
        return value

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """See `KeyValueReader.scan`."""
        with _told(self.path), self._db.iterator(prefix=prefix, verify_checksums=True) as found:
            pairs: list[tuple[bytes, bytes]] = list(found)
        return pairs

    def range(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """The first pairs with `start` <= key < `stop`, in order."""
        with (
            _told(self.path),
            self._db.iterator(start=start, stop=stop, verify_checksums=True) as found,
        ):
            pairs: list[tuple[bytes, bytes]] = list(islice(found, limit))
        return pairs

    def write(self, writes: Iterable[Write], *, sync: bool = True) -> None:
        """All of the writes or none, in order; on disk when this returns, unless `sync` is off."""
        with _told(self.path), self._db.write_batch(transaction=True, sync=sync) as batch:
            for key, value in writes:
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)

    @contextmanager
    def frozen(self) -> Iterator[FrozenStore]:
        """The database as it is now, whatever is written meanwhile."""
        with _told(self.path):
            snapshot = self._db.snapshot()
        try:
            yield FrozenStore(self.path, snapshot)
        finally:
            snapshot.close()

    def as_now(self) -> FrozenStore:
        """The same for as long as somebody holds it: for short questions."""
        with _told(self.path):
            return FrozenStore(self.path, self._db.snapshot())

    def close(self) -> None:
        """Give the database free. Closing twice is allowed."""
        if not self._db.closed:
            self._db.close()
            os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FrozenStore:
    """A database as it was at one moment; may be read in a thread."""

    def __init__(self, path: Path, snapshot: Any) -> None:  # noqa: ANN401 - plyvel is untyped
        self._path, self._snapshot = path, snapshot

    def get(self, key: bytes) -> bytes | None:
        """See `KeyValueReader.get`."""
        with _told(self._path):
            value: bytes | None = self._snapshot.get(key, verify_checksums=True)
        return value

    def each(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The pairs whose key starts with `prefix`, in the order of their keys, one by one."""
        with (
            _told(self._path),
            self._snapshot.iterator(prefix=prefix, verify_checksums=True) as found,
        ):
            yield from found

    def range(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """See `LevelStore.range`."""
        with (
            _told(self._path),
            self._snapshot.iterator(start=start, stop=stop, verify_checksums=True) as found,
        ):
            pairs: list[tuple[bytes, bytes]] = list(islice(found, limit))
        return pairs


class StagedStore:
    """A database plus what turns of a core have persisted since the last batch went to disk.

    The shell stages the writes of its turns; now and then it flushes all of them as one synced
    batch, in a thread if it likes, and then settles. Reads see everything at all times. Without
    `sync` a flush survives the end of the process, but perhaps not a power cut.

    Some writes may go first, in a batch of their own, while the rest waits for something else.
    """

    def __init__(self, disk: LevelStore, *, sync: bool = True) -> None:
        self._disk, self._sync = disk, sync
        self._staged: dict[bytes, bytes | None] = {}
        self._first: dict[bytes, bytes | None] = {}
        self._flying: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """See `KeyValueReader.get`."""
        for layer in (self._staged, self._first, self._flying):
            if key in layer:
                return layer[key]
        return self._disk.get(key)

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """See `KeyValueReader.scan`."""
        pairs = self._disk.scan(prefix)
        changes = {
            key: value
            for layer in (self._flying, self._first, self._staged)
            for key, value in layer.items()
            if key.startswith(prefix)
        }
        if not changes:
            return pairs
        merged: dict[bytes, bytes | None] = {**dict(pairs), **changes}
        return [(key, value) for key, value in sorted(merged.items()) if value is not None]

    @property
    def disk(self) -> LevelStore:
        """What is on disk."""
        return self._disk

    def stage(self, writes: Iterable[Write]) -> None:
        """Make writes visible to reads; later ones replace earlier ones."""
        self._staged.update(writes)

    def stage_first(self, writes: Iterable[Write]) -> None:
        """Make writes visible that go to disk with `take_first`; they replace what is staged for their keys."""
        for key, value in writes:
            self._staged.pop(key, None)
            self._first[key] = value

    @property
    def staged(self) -> int:
        """How many keys the next batch writes."""
        return len(self._staged) + len(self._first)

    @property
    def flying(self) -> int:
        """How many keys the batch that was taken writes."""
        return len(self._flying)

    def flush(self) -> None:
        """Put everything staged on disk as one batch, synced unless told otherwise. Raises `StoreError`.

        May run in a thread, one at a time, while nothing is staged; otherwise `take` first.
        """
        self.take()
        self.write_taken()

    def take(self) -> None:
        """Make everything staged the next batch; what is staged from now on belongs to the one after it."""
        assert not self._flying, "the batch before has not been settled"
        self._flying = {**self._first, **self._staged} if self._first else self._staged
        self._staged, self._first = {}, {}

    def take_first(self) -> None:
        """The same for what was staged to go first; the rest stays staged."""
        assert not self._flying, "the batch before has not been settled"
        self._flying, self._first = self._first, {}

    def write_taken(self) -> None:
        """Put the batch that was taken on disk. Raises `StoreError`."""
        self._disk.write(self._as_batch(self._flying).items(), sync=self._sync)

    def _as_batch(self, staged: dict[bytes, bytes | None]) -> dict[bytes, bytes | None]:
        """What is written for what was staged; called in the order of the batches."""
        return staged

    def settle(self) -> None:
        """The flush has returned: what it wrote is read from disk from now on."""
        self._flying = {}


def _locked(path: Path) -> int:
    """A descriptor that holds the lock file beside the database."""
    name = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StoreError(
            StoreFault.FAILED,
            f"the database {path} cannot be locked ({error.strerror}); check who owns its folder",
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreError(
            StoreFault.LOCKED,
            f"the database {path} is open already, in this process or another; "
            "stop the daemon that uses it first",
        ) from None
    return descriptor


def _refuse_headless(path: Path) -> None:
    """A database without its file CURRENT would be taken for an empty folder."""
    remains = any(path.glob("MANIFEST-*")) or any(path.glob("*.ldb")) or any(path.glob("*.log"))
    if remains and not (path / "CURRENT").is_file():
        raise _damaged(path, "its file CURRENT is missing")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn LevelDB's errors into sentences."""
    try:
        yield
    except plyvel.Error as error:
        raise _as_sentence(error, path) from None


def _as_sentence(error: Any, path: Path) -> StoreError:  # noqa: ANN401 - plyvel's errors are untyped
    text = _detail(error, path)
    if isinstance(error, plyvel.CorruptionError):
        return _damaged(path, text)
    if "does not exist" in text:
        return _missing(path)
    if "corrupt" in text.lower() or "No such file" in text or "missing files" in text:
        return _damaged(path, text)
    return StoreError(
        StoreFault.FAILED,
        f"the database {path} failed ({text}); check that its disk works and is not full",
    )


def _detail(error: Any, path: Path) -> str:  # noqa: ANN401 - plyvel's errors are untyped
    text = error.args[0] if error.args else ""
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return plain.replace(f"{path}/", "").replace(f"{path}: ", "")


def _missing(path: Path) -> StoreError:
    return StoreError(
        StoreFault.MISSING,
        f"the database {path} is missing; put it back, or begin a new home with `bizra-node init`",
    )


def _damaged(path: Path, detail: str) -> StoreError:
    return StoreError(
        StoreFault.DAMAGED,
        f"the database {path} is damaged ({detail}); it is left as it is. Keep a copy of it, check "
        "the disk, and join again from a new home: the federation has the whole chain",
    )
