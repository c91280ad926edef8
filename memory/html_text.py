"""HTML to plain text with the marks of markdown, so that `memory/chunking.py` sees its structure.

Headings become `#` lines, list items `- ` lines, preformatted text a fenced block; what a reader
never sees (scripts, styles, templates) is dropped. Broken HTML gives what can be saved of it.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

_UNSEEN: Final = frozenset({"script", "style", "template", "noscript", "svg", "iframe", "object"})
_PARAGRAPH_TAGS: Final = (
    "address article aside blockquote body dd details div dl dt fieldset figcaption figure footer "
    "form header hr main nav ol p section summary table title ul"
)
_PARAGRAPHS: Final = frozenset(_PARAGRAPH_TAGS.split())
_LINES: Final = frozenset({"br", "tr", "option"})
_CELLS: Final = frozenset({"td", "th"})
_HEADINGS: Final = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_FENCE: Final = "```"
_SPACE: Final = re.compile(r"\s+")
_EMPTY_LINES: Final = re.compile(r"[ \t]*\n(?:[ \t]*\n)+")


def html_to_text(html: str) -> str:
    """The text that a reader of the page would see."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return _EMPTY_LINES.sub("\n\n", "".join(reader.parts)).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unseen: list[str] = []
        self._is_preformatted = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in _UNSEEN:
            self._unseen.append(tag)
        elif tag == "pre":
            self._is_preformatted = True
            self.parts.append(f"\n\n{_FENCE}\n")
        elif tag in _HEADINGS:
            self.parts.append("\n\n" + _HEADINGS[tag])
        elif tag == "li":
            self.parts.append("\n- ")
        elif tag in _PARAGRAPHS:
            self.parts.append("\n\n")
        elif tag in _LINES:
            self.parts.append("\n")
        elif tag in _CELLS:
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._unseen:
            del self._unseen[self._unseen.index(tag) :]
        elif tag == "pre" and self._is_preformatted:
            self._is_preformatted = False
            self.parts.append(f"\n{_FENCE}\n\n")
        elif tag in _PARAGRAPHS or tag in _HEADINGS:
            self.parts.append("\n\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """`<script/>` closes itself: it must not swallow the rest of the page."""
        if tag not in _UNSEEN:
            self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(data if self._is_preformatted else _SPACE.sub(" ", data))
