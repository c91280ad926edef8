"""A text's structure by lines: what is prose, what a heading, what code.

It understands as much of markdown and reStructuredText as decides where a sentence may run on:
headings of both kinds, list items, quotes, table rows, fenced code, literal blocks after `::`, and
doctest lines. Anything else is prose, parted by empty lines. It never fails: every text has blocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Final

import msgspec


class BlockKind(Enum):
    """What a block is read as."""

    PROSE = auto()
    HEADING = auto()
    CODE = auto()


class Block(msgspec.Struct, frozen=True):
    """A stretch of the text, markers of lists and quotes left out; blocks are in order, apart."""

    kind: BlockKind
    start: int
    end: int


class _Line(msgspec.Struct, frozen=True):
    start: int
    end: int
    text: str

    @property
    def indent(self) -> int:
        return len(self.text) - len(self.text.lstrip())


_FENCE: Final = re.compile(r"\s{0,3}(?:>\s?)*(`{3,}|~{3,})")
_ATX_HEADING: Final = re.compile(r"\s{0,3}#{1,6}(?:\s|$)")
_UNDERLINE: Final = re.compile(r"([=\-~^\"'`*+#<>.:_])\1{2,}\s*$")
_MARKER: Final = re.compile(r"\s*(?:>\s?)*(?:[-*+•]\s+|\(?(?:\d{1,3}|[a-zA-Z])[.)]\s+|\|\s*|>\s?)")
_DOCTEST: Final = re.compile(r"\s*(?:>>>|\.\.\.)(?:\s|$)")


def blocks(text: str) -> tuple[Block, ...]:
    """The text's blocks, in order; none is empty and none overlaps another."""
    return tuple(_Scanner(text).scan())


class _Scanner:
    """Reads line by line; `_paragraph` holds the lines of prose that are not yet given out."""

    def __init__(self, text: str) -> None:
        self._lines = list(_lines(text))
        self._paragraph: list[_Line] = []
        self._at = 0

    def scan(self) -> Iterator[Block]:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if fence := _FENCE.match(line.text):
                yield from self._flush()
                yield self._fenced(fence.group(1))
            elif not line.text.strip():
                yield from self._close_paragraph()
            elif _DOCTEST.match(line.text):
                yield from self._flush()
                yield self._while_code(lambda other: bool(other.text.strip()))
            else:
                yield from self._prose_line(line)
        yield from self._flush()

    def _prose_line(self, line: _Line) -> Iterator[Block]:
        self._at += 1
        if _ATX_HEADING.match(line.text):
            yield from self._flush()
            yield from _block(BlockKind.HEADING, line, line)
        elif _UNDERLINE.match(line.text):
            yield from self._underlined()
        else:
            if _MARKER.match(line.text):
                yield from self._flush()
            self._paragraph.append(line)

    def _underlined(self) -> Iterator[Block]:
        """A rule under one line makes it a heading; anywhere else it only parts paragraphs."""
        if len(self._paragraph) == 1:
            heading = self._paragraph.pop()
            yield from _block(BlockKind.HEADING, heading, heading)
        yield from self._flush()

    def _close_paragraph(self) -> Iterator[Block]:
        """At an empty line; what follows a paragraph ending in `::`, further in, is literal."""
        last = self._paragraph[-1] if self._paragraph else None
        yield from self._flush()
        self._at += 1
        if last is None or not last.text.rstrip().endswith("::"):
            return
        while self._at < len(self._lines) and not self._lines[self._at].text.strip():
            self._at += 1
        if self._at < len(self._lines) and self._lines[self._at].indent > last.indent:
            indent = last.indent
            yield self._while_code(lambda line: not line.text.strip() or line.indent > indent)

    def _fenced(self, fence: str) -> Block:
        first = self._lines[self._at]
        self._at += 1
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._at += 1
            if line.text.strip().strip(">").strip().startswith(fence):
                return Block(BlockKind.CODE, first.start, line.end)
        return Block(BlockKind.CODE, first.start, self._lines[-1].end)

    def _while_code(self, belongs: Callable[[_Line], bool]) -> Block:
        first = self._lines[self._at]
        last = first
        while self._at < len(self._lines) and belongs(self._lines[self._at]):
            if self._lines[self._at].text.strip():
                last = self._lines[self._at]
            self._at += 1
        return Block(BlockKind.CODE, first.start, last.end)

    def _flush(self) -> Iterator[Block]:
        if self._paragraph:
            yield from _block(BlockKind.PROSE, self._paragraph[0], self._paragraph[-1])
            self._paragraph = []


def _block(kind: BlockKind, first: _Line, last: _Line) -> Iterator[Block]:
    """The block without its marker, unless nothing with a letter or digit is left of it."""
    marker = _MARKER.match(first.text)
    if kind is BlockKind.HEADING:
        marker = _ATX_HEADING.match(first.text)
    start = first.start + (marker.end() if marker else first.indent)
    if start < last.end and any(char.isalnum() for char in first.text[start - first.start :]):
        yield Block(kind, start, last.end)
    elif first is not last:
        yield Block(kind, first.start, last.end)


def _lines(text: str) -> Iterator[_Line]:
    start = 0
    for line in text.splitlines(keepends=True):
        bare = line.rstrip()
        yield _Line(start, start + len(bare), bare)
        start += len(line)
