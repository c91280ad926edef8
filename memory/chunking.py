"""Text to sentences and to overlapping passages, each with its place.

Everything returned is a `Chunk` with `text[chunk.start:chunk.end] == chunk.text`: a citation can
point into the document, and nothing is ever quoted that does not stand there.

`memory/blocks.py` first splits the text by lines into paragraphs, list items, headings and code.
Sentences come out of prose alone. Passages cover the whole text, code and headings too, and begin
and end where a sentence or a line does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from memory.blocks import Block, BlockKind, blocks

PASSAGE_CHARS: Final = 600
"""About 130 tokens of English: well below the model's 256, and its best at a length near that."""
OVERLAP_CHARS: Final = 150

_NEVER_LAST: Final = "cf dr e.g i.e eq eqs fig figs mr mrs ms mt mx prof st vs vgl z.b d.h"
"""Abbreviations that never end a sentence."""
_BEFORE_NUMBERS: Final = (
    "approx art ca ch chap ed est gen no nos op p pp par pt ref refs rev sec sect ser v ver vol "
    "vols jan feb mar apr jun jul aug sep sept oct nov dec"
)
"""Abbreviations that go on before a number; before a capital letter they may end a sentence."""
_CONTINUED: Final = frozenset(_NEVER_LAST.split())
_CONTINUED_BY_NUMBER: Final = frozenset(_BEFORE_NUMBERS.split())
_END: Final = re.compile(
    r"""(?P<mark>[.!?]+)[\"'\u201d\u2019\u00bb)\]*_`]*(?=\s)   # western: quotes close, space
      | [\u3002\uff01\uff1f\uff61][\u300d\u300f\u201d\u2019\uff09]*  # eastern: needs no space
    """,
    re.VERBOSE,
)
_LAST_WORD: Final = re.compile(r"[\w.]+\Z")
_OPENING: Final = "\"'\u201c\u2018\u00ab([*_`"


class Chunk(msgspec.Struct, frozen=True):
    """A piece of a text: exactly what stands from `start` (included) to `end` (excluded)."""

    start: int
    end: int
    text: str


def sentences(text: str, *, max_chars: int = PASSAGE_CHARS) -> tuple[Chunk, ...]:
    """The sentences of the text's prose, in order. Headings and code are none.

    What goes on for more than `max_chars` without an end is cut at a space.
    """
    return tuple(
        _chunk(text, start, end)
        for block in blocks(text)
        if block.kind is BlockKind.PROSE
        for start, end in _units(text, block, max_chars)
    )


def passages(
    text: str, *, max_chars: int = PASSAGE_CHARS, overlap_chars: int = OVERLAP_CHARS
) -> tuple[Chunk, ...]:
    """Pieces of at most `max_chars`, in order, that together hold every sentence and line.

    Each begins with the last whole sentences of the one before, as far as they fit into
    `overlap_chars`, so that what stands at a border is found from both sides.
    """
    if not 0 <= overlap_chars < max_chars:
        raise ValueError("the overlap must be at least 0 and smaller than a passage")
    units = [unit for block in blocks(text) for unit in _units(text, block, max_chars)]
    return tuple(_chunk(text, start, end) for start, end in _pack(units, max_chars, overlap_chars))


def _chunk(text: str, start: int, end: int) -> Chunk:
    return Chunk(start, end, text[start:end])


def _pack(
    units: Sequence[tuple[int, int]], max_chars: int, overlap_chars: int
) -> Iterator[tuple[int, int]]:
    """Neighbouring units joined while they fit."""
    first = 0
    for index, (_, end) in enumerate(units):
        is_last = index + 1 == len(units)
        if not is_last and units[index + 1][1] - units[first][0] <= max_chars:
            continue
        yield units[first][0], end
        if is_last:
            return
        room = max_chars - (units[index + 1][1] - end)
        first = index + 1
        while first > 1 and end - units[first - 1][0] <= min(overlap_chars, room):
            first -= 1


def _units(text: str, block: Block, max_chars: int) -> Iterator[tuple[int, int]]:
    """A block's smallest pieces: sentences of prose, lines of the rest; overlong ones are cut."""
    pieces = _split_prose(text, block) if block.kind is BlockKind.PROSE else _lines(text, block)
    for start, end in pieces:
        yield from _cut(text, start, end, max_chars)


def _cut(text: str, start: int, end: int, max_chars: int) -> Iterator[tuple[int, int]]:
    """At most `max_chars` at a time, at a space where there is one in the second half."""
    while end - start > max_chars:
        limit = start + max_chars
        space = max(text.rfind(mark, start + max_chars // 2, limit) for mark in (" ", "\n", "\t"))
        border = space if space > start else limit
        yield _trim(text, start, border)
        start, _ = _trim(text, border, end)
    if start < end:
        yield start, end


def _lines(text: str, block: Block) -> Iterator[tuple[int, int]]:
    start = block.start
    for line in text[block.start : block.end].splitlines(keepends=True):
        piece = _trim(text, start, start + len(line))
        if piece[0] < piece[1]:
            yield piece
        start += len(line)


def _split_prose(text: str, block: Block) -> Iterator[tuple[int, int]]:
    start = block.start
    for match in _END.finditer(text, block.start, block.end):
        if match["mark"] is not None and not _ends_sentence(text, match, block):
            continue
        piece = _trim(text, start, match.end())
        if piece[0] < piece[1]:
            yield piece
        start = match.end()
    piece = _trim(text, start, block.end)
    if piece[0] < piece[1]:
        yield piece


def _ends_sentence(text: str, match: re.Match[str], block: Block) -> bool:
    """Judge a full stop by the word before it and by what comes after."""
    following = text[match.end() : block.end].lstrip()
    following = following.lstrip(_OPENING) or following
    if not following:
        return True
    if match["mark"] != ".":
        return not following[0].islower()
    word = _LAST_WORD.search(text, block.start, match.start())
    last = word.group().lower() if word else ""
    if last in _CONTINUED or _is_initial(last) or following[0].islower():
        return False
    return not (last in _CONTINUED_BY_NUMBER and following[0].isdigit())


def _is_initial(word: str) -> bool:
    """One letter before a full stop, as in "J. Smith"; "I" is a word more often than a name."""
    return len(word) == 1 and word.isalpha() and word != "i"


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
