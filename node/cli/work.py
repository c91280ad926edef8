"""From what a person names (a file, a folder, a question) to the input of a task."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import click

from inference.kinds import kind_named
from memory.documents import DEFAULT_LIMITS, Document, DocumentError, read_documents
from memory.formats import text_of
from memory.not_text import NotText
from node.views.records import JsonObject

_STDIN = Path("-")
_MAX_CHARS = 1_000_000


@dataclass(frozen=True, slots=True)
class Work:
    """A task's input as JSON, and the files of a folder that can't be read, with the reasons."""

    fields: JsonObject
    left_out: tuple[tuple[str, str], ...]


def read_work(kind: str, source: Path | None, query: str | None, sentences: int | None) -> Work:
    """Read what the options name.

    Raises `UnknownKind`, `DocumentError`, and `click.UsageError` for options that don't fit.
    """
    kind_named(kind)
    if sentences is not None and kind != "summarize":
        raise click.UsageError(f"--sentences is for summarize, not for {kind}")
    if query is not None and kind == "summarize":
        raise click.UsageError("--query is not for summarize")
    if query is None and kind in ("rank", "answer"):
        raise click.UsageError(f"{kind} needs a question: --query TEXT")
    if source is None and (kind != "embed" or query is None):
        raise click.UsageError(f"{kind} needs something to work on: --input FILE, DIR or -")
    documents, left_out = _documents(source)
    fields = _fields(kind, documents, query, sentences)
    return Work(fields, left_out)


def _fields(
    kind: str, documents: tuple[Document, ...], query: str | None, sentences: int | None
) -> JsonObject:
    if kind == "embed":
        asked = [] if query is None else [query]
        return {"texts": [*asked, *(document.text for document in documents)]}
    fields: JsonObject = {
        "documents": [{"name": document.name, "text": document.text} for document in documents]
    }
    if sentences is not None:
        fields["sentences"] = sentences
    if query is not None:
        fields["query" if kind == "rank" else "question"] = query
    return fields


def _documents(
    source: Path | None,
) -> tuple[tuple[Document, ...], tuple[tuple[str, str], ...]]:
    if source is None:
        return (), ()
    if source == _STDIN:
        return (_standard_input(),), ()
    reading = read_documents(source)
    return reading.documents, tuple((one.name, one.reason) for one in reading.left_out)


def _standard_input() -> Document:
    data = sys.stdin.buffer.read(DEFAULT_LIMITS.file_bytes + 1)
    if len(data) > DEFAULT_LIMITS.file_bytes:
        raise DocumentError(
            f"standard input is larger than {DEFAULT_LIMITS.file_bytes:,} bytes; split it"
        )
    try:
        return Document("stdin", text_of("stdin", data, _MAX_CHARS))
    except NotText as error:
        raise DocumentError(f"standard input {error}") from None
