"""A large input in parts that peers can work on side by side, and their outputs put together again.

Texts are grouped; documents are cut at blank lines, each piece under its document's name and with
the place where it began, so that what is quoted from a piece has its place in the whole. An output is
checked against what its part was given before anything is made of it: a quotation must stand there.

Merged results say what the kind says of the whole, with two differences told in `docs/API.md`: a
ranking over several parts goes by the cosine of the best passage, and a summary chooses among
sentences that were scored in their part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, assert_never

import msgspec

from inference.kinds import (
    AnswerInput,
    AnswerOutput,
    EmbedInput,
    EmbedOutput,
    Quote,
    RankedDocument,
    RankInput,
    RankOutput,
    SummarizeInput,
    SummarizeOutput,
    TaskInput,
    TaskOutput,
)
from memory.messages import Document

PART_TEXTS: Final = 32
PART_CHARS: Final = 40_000
MAX_PARTS: Final = 128
_FLOAT_BYTES: Final = 4


class Piece(msgspec.Struct, frozen=True):
    """A part's input, and where each of its documents began in the whole."""

    given: TaskInput
    offsets: dict[str, int] = {}


def split(whole: TaskInput, *, part_chars: int = PART_CHARS) -> list[Piece]:
    """The parts in the order of the whole; at least one. Large wholes have larger parts, not more."""
    match whole:
        case EmbedInput(texts=texts):
            size = max(PART_TEXTS, math.ceil(len(texts) / MAX_PARTS))
            groups = [texts[at : at + size] for at in range(0, len(texts), size)]
            return [Piece(EmbedInput(texts=group)) for group in groups]
        case RankInput(documents=documents):
            return [
                Piece(msgspec.structs.replace(whole, documents=group), dict.fromkeys(names, 0))
                for group in _whole_documents(documents, part_chars)
                for names in [[document.name for document in group]]
            ]
        case SummarizeInput(documents=documents) | AnswerInput(documents=documents):
            return [
                Piece(
                    msgspec.structs.replace(
                        whole, documents=tuple(document for document, _ in group)
                    ),
                    {document.name: offset for document, offset in group},
                )
                for group in _pieces(documents, part_chars)
            ]
        case _:
            assert_never(whole)


def _part_chars(documents: Sequence[Document], part_chars: int) -> int:
    return max(part_chars, math.ceil(sum(len(one.text) for one in documents) * 2 / MAX_PARTS))


def _whole_documents(
    documents: Sequence[Document], part_chars: int
) -> Iterator[tuple[Document, ...]]:
    """Groups of whole documents: a ranking needs each of them in one piece."""
    limit, group, chars = _part_chars(documents, part_chars), list[Document](), 0
    for document in documents:
        if group and chars + len(document.text) > limit:
            yield tuple(group)
            group, chars = [], 0
        group.append(document)
        chars += len(document.text)
    yield tuple(group)


def _pieces(documents: Sequence[Document], part_chars: int) -> Iterator[list[tuple[Document, int]]]:
    """Groups of pieces of documents, no document twice in a group."""
    limit, group, chars = _part_chars(documents, part_chars), list[tuple[Document, int]](), 0
    for document in documents:
        for start, end in _cuts(document.text, limit):
            text = document.text[start:end]
            if not text.strip():
                continue
            is_there = any(one.name == document.name for one, _ in group)
            if group and (is_there or chars + len(text) > limit):
                yield group
                group, chars = [], 0
            group.append((Document(document.name, text), start))
            chars += len(text)
    if group:
        yield group


def _cuts(text: str, limit: int) -> Iterator[tuple[int, int]]:
    """Places to cut: after a blank line if there is one in the second half, else a line, else a blank."""
    start = 0
    while len(text) - start > limit:
        end = start + limit
        for sign in ("\n\n", "\n", ". ", " "):
            at = text.rfind(sign, start + limit // 2, end)
            if at > 0:
                end = at + len(sign)
                break
        yield start, end
        start = end
    yield start, len(text)


def fault_of(given: TaskInput, output: TaskOutput) -> str | None:
    """Why this is no output for that input, or None."""
    match given, output:
        case EmbedInput(texts=texts), EmbedOutput(dimensions=size, vectors=vectors):
            if len(vectors) != len(texts) * size * _FLOAT_BYTES:
                return "it has not a vector for each text"
            return None
        case RankInput(documents=documents), RankOutput(items=items):
            if sorted(one.document for one in items) != sorted(one.name for one in documents):
                return "it does not rank exactly the documents that were given"
            return _misquoted(documents, [one.passage for one in items])
        case SummarizeInput(documents=documents, sentences=most), SummarizeOutput(sentences=chosen):
            if len(chosen) > most:
                return f"it has {len(chosen)} sentences where {most} were asked for"
            return _misquoted(documents, chosen)
        case AnswerInput(documents=documents), AnswerOutput(answered=answered, citations=citations):
            if answered and not citations:
                return "it answers without a source"
            return _misquoted(documents, citations)
        case _:
            return "it is of another kind"


def _misquoted(documents: Sequence[Document], quotes: Sequence[Quote]) -> str | None:
    texts = {document.name: document.text for document in documents}
    for quote in quotes:
        if texts.get(quote.document, "")[quote.start : quote.end] != quote.text:
            return f"it quotes what does not stand in {quote.document[:64]!r}"
    return None


def merge(whole: TaskInput, pieces: Sequence[Piece], outputs: Sequence[TaskOutput]) -> TaskOutput:
    """The whole's output, from one checked output for each piece. Raises `ValueError` for outputs that don't fit."""
    match whole:
        case EmbedInput():
            return _merged_vectors(pieces, outputs)
        case RankInput():
            items = [item for one in outputs if isinstance(one, RankOutput) for item in one.items]
            if len(outputs) == 1:
                return RankOutput(items=tuple(items))
            scored = [RankedDocument(one.document, one.passage.score, one.passage) for one in items]
            return RankOutput(items=tuple(sorted(scored, key=lambda one: -one.score)))
        case SummarizeInput(documents=documents, sentences=most):
            chosen = [
                _moved(quote, piece)
                for piece, one in zip(pieces, outputs, strict=True)
                if isinstance(one, SummarizeOutput)
                for quote in one.sentences
            ]
            best = sorted(chosen, key=lambda quote: -quote.score)[:most]
            order = {document.name: at for at, document in enumerate(documents)}
            best.sort(key=lambda quote: (order[quote.document], quote.start))
            return SummarizeOutput(sentences=tuple(best))
        case AnswerInput():
            return _best_answer(pieces, outputs)
        case _:
            assert_never(whole)


def _merged_vectors(pieces: Sequence[Piece], outputs: Sequence[TaskOutput]) -> EmbedOutput:
    vectors, truncated, done, sizes = bytearray(), list[int](), 0, set[int]()
    for piece, output in zip(pieces, outputs, strict=True):
        if not isinstance(output, EmbedOutput) or not isinstance(piece.given, EmbedInput):
            raise ValueError("an output is of another kind")  # noqa: TRY004 - one error for all
        sizes.add(output.dimensions)
        vectors += output.vectors
        truncated += [done + at for at in output.truncated]
        done += len(piece.given.texts)
    if len(sizes) != 1:
        raise ValueError("the parts' vectors are of different lengths")
    return EmbedOutput(dimensions=sizes.pop(), vectors=bytes(vectors), truncated=tuple(truncated))


def _best_answer(pieces: Sequence[Piece], outputs: Sequence[TaskOutput]) -> AnswerOutput:
    """The most confident answer; of several parts that hold none, the one that came nearest."""
    found = [
        (one, piece)
        for piece, one in zip(pieces, outputs, strict=True)
        if isinstance(one, AnswerOutput)
    ]
    if not found:
        raise ValueError("an output is of another kind")
    best, piece = max(found, key=lambda pair: (pair[0].answered, pair[0].confidence))
    moved = tuple(_moved(quote, piece) for quote in best.citations)
    return msgspec.structs.replace(best, citations=moved)


def _moved(quote: Quote, piece: Piece) -> Quote:
    offset = piece.offsets.get(quote.document, 0)
    return msgspec.structs.replace(quote, start=quote.start + offset, end=quote.end + offset)
