"""Contents on disk: each chunk a file under its name, each manifest another; bounded, and checked when read.

```
chunks/ab/abcdef...    the bytes of a chunk
manifests/0123...      a manifest; the time of the file is when it was last used
kept/0123...           its owner wants to keep it: never removed to make room
```

A file is whole or not there (written aside, then renamed). Nothing is synced: what a loss of power damages is found by
its hash and fetched again. One process uses a store; methods may be called from threads, one at a time.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gossip.codec import DecodeError, Digest, encode
from gossip.transfer.manifest import (
    CHUNK_BYTES,
    MAX_CHUNKS,
    Manifest,
    chunk_name,
    content_name,
    cut,
    read_manifest,
)


class ContentError(Exception):
    """The store can't do it; the text is a sentence for a person."""


class StoreFullError(ContentError):
    """A content is larger than what may be kept."""


class MissingChunkError(ContentError):
    """A chunk that should be here is not, or is damaged: the content has to be fetched again."""


@dataclass(frozen=True, slots=True)
class Held:
    """A content in the store. `present_bytes` is less than its size while it is on its way."""

    name: Digest
    manifest: Manifest
    kept: bool
    present_bytes: int

    @property
    def is_complete(self) -> bool:
        """Whether all of it is here."""
        return self.present_bytes == self.manifest.size_bytes


class ContentStore:
    """The contents in a folder, at most `max_bytes` in all. Raises `ContentError` when the disk fails."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self._lock = threading.RLock()
        self._manifests: dict[Digest, Manifest] = {}
        self._uses: Counter[bytes] = Counter()
        self._sizes: dict[bytes, int] = {}
        self._busy: Counter[Digest] = Counter()
        try:
            for name in ("chunks", "manifests", "kept"):
                (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._load()
        except OSError as error:
            raise _failed(folder, error) from None

    def _load(self) -> None:
        """Read the manifests, and remove what belongs to none: the rest of something interrupted."""
        for path in sorted((self.folder / "manifests").iterdir()):
            try:
                name = Digest(bytes.fromhex(path.name))
                manifest = read_manifest(path.read_bytes(), name)
            except (ValueError, DecodeError):
                path.unlink()
                continue
            self._manifests[name] = manifest
            self._uses.update(set(manifest.chunks))
        for path in sorted((self.folder / "chunks").glob("*/*")):
            try:
                chunk = bytes.fromhex(path.name)
            except ValueError:
                chunk = b""
            if chunk in self._uses:
                self._sizes[chunk] = path.stat().st_size
            else:
                path.unlink()

    # What it holds

    @property
    def used_bytes(self) -> int:
        """The size of all chunks."""
        return sum(self._sizes.values())

    def listed(self) -> list[Held]:
        """All contents, in the order of their names."""
        with self._lock:
            return [self._held(name) for name in sorted(self._manifests)]

    def find(self, name: bytes) -> Held | None:
        """A content by its name."""
        with self._lock:
            return self._held(Digest(name)) if name in self._manifests else None

    def _held(self, name: Digest) -> Held:
        manifest = self._manifests[name]
        present = sum(
            manifest.size_of(index)
            for index, chunk in enumerate(manifest.chunks)
            if chunk in self._sizes
        )
        return Held(name, manifest, self._kept(name).exists(), present)

    def missing(self, manifest: Manifest) -> frozenset[int]:
        """The chunks that are not here."""
        with self._lock:
            return frozenset(
                index for index, chunk in enumerate(manifest.chunks) if chunk not in self._sizes
            )

    def chunk(self, name: bytes) -> bytes | None:
        """A chunk, checked; a damaged one is removed and None."""
        if name not in self._sizes:
            return None
        path = self._chunk_path(name)
        try:
            data = path.read_bytes()
        except OSError:
            data = b""
        if chunk_name(data) == name:
            return data
        with self._lock:
            self._sizes.pop(name, None)
            path.unlink(missing_ok=True)
        return None

    def read(self, name: bytes) -> Iterator[bytes]:
        """The chunks of a content, in order. Raises `MissingChunkError`."""
        manifest = self._manifests.get(Digest(name))
        if manifest is None:
            raise MissingChunkError(f"the content {name.hex()} is not here")
        self._touch(Digest(name))
        for index, chunk in enumerate(manifest.chunks):
            data = self.chunk(chunk)
            if data is None:
                raise MissingChunkError(
                    f"chunk {index} of the content {name.hex()} is missing or damaged; "
                    "fetch the content again"
                )
            yield data

    # What changes it

    def add(self, pieces: Iterable[bytes], *, keep: bool) -> Digest:
        """Take a content in. Raises `StoreFullError`, and then leaves nothing of it."""
        fresh: list[bytes] = []
        chunks: list[bytes] = []
        size_bytes = 0
        try:
            for data in cut(pieces):
                chunk = chunk_name(data)
                chunks.append(chunk)
                size_bytes += len(data)
                with self._lock:
                    # Claimed before it is written, so that making room takes none of them away.
                    self._uses[chunk] += 1
                    fresh.append(chunk)
                    self._make_room(0 if chunk in self._sizes else len(data))
                    self._write_chunk(chunk, data)
                if len(chunks) > MAX_CHUNKS:
                    raise StoreFullError(f"a content has at most {MAX_CHUNKS * CHUNK_BYTES} bytes")
            manifest = Manifest(size_bytes, tuple(chunks))
            return self.begin(manifest, keep=keep)
        except OSError as error:
            raise _failed(self.folder, error) from None
        finally:
            with self._lock:
                for claimed in fresh:
                    self._release(claimed)

    def begin(self, manifest: Manifest, *, keep: bool) -> Digest:
        """Make a place for a content, whose chunks may still be missing. Raises `StoreFullError`."""
        name = content_name(manifest)
        with self._lock:
            if name not in self._manifests:
                lacking = {manifest.chunks[index]: index for index in self.missing(manifest)}
                self._busy[name] += 1
                self._manifests[name] = manifest
                self._uses.update(set(manifest.chunks))
                try:
                    self._make_room(sum(map(manifest.size_of, lacking.values())))
                    self._write(self.folder / "manifests" / name.hex(), encode(manifest))
                except BaseException:
                    self._drop(name)
                    raise
                finally:
                    self._busy[name] -= 1
            if keep:
                self._write(self._kept(name), b"")
            self._touch(name)
        return name

    def put_chunk(self, chunk: bytes, data: bytes) -> None:
        """Take a chunk of a content that was begun; its hash has been checked."""
        with self._lock:
            if chunk in self._uses:
                self._write_chunk(chunk, data)

    def hold(self, name: Digest) -> None:
        """Don't remove this content to make room, until `let_go`."""
        self._busy[name] += 1

    def let_go(self, name: Digest) -> None:
        """The counterpart of `hold`."""
        self._busy[name] -= 1

    def remove(self, name: bytes) -> bool:
        """Forget a content and the chunks that no other one has. Whether it was here."""
        with self._lock:
            if name not in self._manifests:
                return False
            self._drop(Digest(name))
            return True

    def _make_room(self, size_bytes: int) -> None:
        """Remove what was not used for longest until so much fits. Raises `StoreFullError`."""
        while self.used_bytes + size_bytes > self.max_bytes:
            loose = [
                name
                for name in self._manifests
                if not self._busy[name] and not self._kept(name).exists()
            ]
            if not loose:
                raise StoreFullError(
                    f"no room for {size_bytes} bytes more: {self.used_bytes} of {self.max_bytes} "
                    f"bytes in {self.folder} are in use; remove contents that are kept"
                )
            self._drop(min(loose, key=self._last_use))

    def _last_use(self, name: Digest) -> tuple[int, bytes]:
        try:
            return (self.folder / "manifests" / name.hex()).stat().st_mtime_ns, name
        except OSError:
            return 0, name

    def _drop(self, name: Digest) -> None:
        manifest = self._manifests.pop(name)
        self._kept(name).unlink(missing_ok=True)
        (self.folder / "manifests" / name.hex()).unlink(missing_ok=True)
        for chunk in set(manifest.chunks):
            self._release(chunk)

    def _release(self, chunk: bytes) -> None:
        self._uses[chunk] -= 1
        if self._uses[chunk] <= 0:
            del self._uses[chunk]
            if self._sizes.pop(chunk, None) is not None:
                self._chunk_path(chunk).unlink(missing_ok=True)

    def _touch(self, name: Digest) -> None:
        try:
            os.utime(self.folder / "manifests" / name.hex())
        except OSError:
            return

    def _write_chunk(self, chunk: bytes, data: bytes) -> None:
        if chunk not in self._sizes:
            path = self._chunk_path(chunk)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            self._write(path, data)
            self._sizes[chunk] = len(data)

    def _write(self, path: Path, data: bytes) -> None:
        aside = self.folder / f"writing-{threading.get_ident()}"
        try:
            aside.write_bytes(data)
            aside.replace(path)
        except OSError as error:
            raise _failed(self.folder, error) from None

    def _chunk_path(self, chunk: bytes) -> Path:
        return self.folder / "chunks" / chunk.hex()[:2] / chunk.hex()

    def _kept(self, name: bytes) -> Path:
        return self.folder / "kept" / name.hex()


def _failed(folder: Path, error: OSError) -> ContentError:
    return ContentError(
        f"the contents in {folder} can't be used ({error.strerror or error}); "
        "check that the disk works and is not full"
    )
