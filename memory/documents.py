"""Files and folders to documents, and a clear sentence for whatever cannot be read.

`read_documents` takes what a user names. A single file either becomes a document or raises; a
folder is walked in sorted order, and a file that cannot be used is left out with its reason, so
that one photograph among notes spoils nothing. Limits hold for bytes read and for the number of
documents: they raise, for a silently shortened folder would give answers about something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from memory.formats import text_of
from memory.messages import MAX_NAME_CHARS, MAX_TEXT_CHARS, Document
from memory.not_text import NotText

__all__ = [
    "DEFAULT_LIMITS",
    "Document",
    "DocumentError",
    "LeftOut",
    "Limits",
    "Reading",
    "read_documents",
]


class DocumentError(Exception):
    """Something named as input cannot be read. The text names it and says what to do."""


class Limits(msgspec.Struct, frozen=True):
    """What one reading may take in."""

    file_bytes: int = 16_000_000
    total_bytes: int = 64_000_000
    documents: int = 1_000


class LeftOut(msgspec.Struct, frozen=True):
    """A file or folder that was met and not read, and why."""

    name: str
    reason: str


class Reading(msgspec.Struct, frozen=True):
    """What a file or folder gave: at least one document, in the order of their names."""

    documents: tuple[Document, ...]
    left_out: tuple[LeftOut, ...] = ()


DEFAULT_LIMITS: Final = Limits()


def read_documents(path: Path, limits: Limits = DEFAULT_LIMITS) -> Reading:
    """Read one file, or every usable file below a folder. Raises `DocumentError`."""
    if path.is_dir():
        return _read_folder(path, limits)
    data = _read_bytes(path, limits.file_bytes)
    return Reading((_document(path.name, path, data),))


def _read_folder(folder: Path, limits: Limits) -> Reading:
    documents: list[Document] = []
    left_out: list[LeftOut] = []
    remaining_bytes = limits.total_bytes
    for path, refusal in _walk(folder):
        name = path.relative_to(folder).as_posix()
        if refusal is not None:
            left_out.append(LeftOut(name, refusal))
            continue
        try:
            data = _read_bytes(path, limits.file_bytes)
            document = _document(name, path, data)
        except DocumentError as error:
            left_out.append(LeftOut(name, str(error)))
            continue
        documents.append(document)
        remaining_bytes -= len(data)
        if remaining_bytes < 0:
            raise DocumentError(
                f"{folder} holds more than {limits.total_bytes:,} bytes of documents; "
                "name a smaller folder"
            )
        if len(documents) > limits.documents:
            raise DocumentError(
                f"{folder} holds more than {limits.documents:,} documents; name a smaller folder"
            )
    if not documents:
        why = f" (the first of {len(left_out)}: {left_out[0].reason})" if left_out else ""
        raise DocumentError(f"{folder} holds no document that can be read{why}; name another")
    return Reading(tuple(documents), tuple(left_out))


def _walk(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Every entry below `folder`, sorted, folders gone into; with a reason where it is left out."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        yield folder, f"{folder} cannot be opened ({error.strerror}); check its permissions"
        return
    for entry in entries:
        if entry.name.startswith("."):
            yield entry, f"{entry} is hidden; name it itself to read it"
        elif entry.is_symlink():
            yield entry, f"{entry} is a symbolic link; name its target to read it"
        elif entry.is_dir():
            yield from _walk(entry)
        else:
            yield entry, None


def _read_bytes(path: Path, limit_bytes: int) -> bytes:
    """The file's content, at most `limit_bytes`: its size is not asked, for it may grow."""
    try:
        if path.exists() and not path.is_file():
            raise DocumentError(f"{path} is no regular file; name a file or a folder")
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except FileNotFoundError:
        raise DocumentError(f"{path} does not exist; check the spelling") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DocumentError(f"{path} cannot be read ({reason}); check its permissions") from error
    if len(data) > limit_bytes:
        raise DocumentError(f"{path} is larger than {limit_bytes:,} bytes; split it")
    return data


def _document(name: str, path: Path, data: bytes) -> Document:
    try:
        text = text_of(path.name, data, MAX_TEXT_CHARS)
    except NotText as error:
        raise DocumentError(f"{path} {error}") from error
    if len(name) > MAX_NAME_CHARS:
        raise DocumentError(f"{path} has a name of more than {MAX_NAME_CHARS} characters; move it")
    return Document(name.encode("utf-8", "replace").decode(), text)
