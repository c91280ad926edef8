r"""The bytes of one file to its text: plain text of any encoding, HTML, PDF.

Markdown, reStructuredText and source code are plain text here; their structure is the matter of
`memory/chunking.py`. The text comes out with `\n` for every line's end and without control
characters, so that places in it mean the same everywhere.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from charset_normalizer import from_bytes

from memory.html_text import html_to_text
from memory.not_text import NotText

_HTML_SUFFIXES: Final = (".html", ".htm", ".xhtml")
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like UTF-16's, so it is asked first
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LINE_END: Final = re.compile(r"\r\n?|[\u2028\u2029]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\ufeff\ud800-\udfff]")
_PAGE_END: Final = re.compile(r"\x0c")
_SAMPLE_BYTES: Final = 8192
_MAX_CONTROL_SHARE: Final = 0.02
"""Terminal colours and stray form feeds stay below it; executables and images do not."""
_MAX_DISORDER: Final = 0.1
"""charset-normalizer's measure of gibberish, 0 to 1; random bytes start at 0.2 and more."""


def text_of(name: str, data: bytes, max_chars: int) -> str:
    """The text in `data`; `name`'s suffix only tells HTML from plain text. Raises `NotText`."""
    if not data.strip():
        raise NotText("is empty; name a file with text in it")
    if data.startswith(b"%PDF-"):
        text = _pdf_text(data, max_chars)
    else:
        text = _decode(data)
        if name.lower().endswith(_HTML_SUFFIXES) or _is_html(text):
            text = html_to_text(text)
    text = _CONTROL.sub("", _PAGE_END.sub("\n", _LINE_END.sub("\n", text))).strip("\n")
    if not text.strip():
        raise NotText("holds no text; name a file with text in it")
    if len(text) > max_chars:
        raise NotText(f"holds more than {max_chars:,} characters; split it")
    return text


def _is_html(text: str) -> bool:
    start = text[:256].lstrip().lower()
    return start.startswith(("<!doctype html", "<html"))


def _decode(data: bytes) -> str:
    """Text of unknown encoding: a byte-order mark, then UTF-8, then the most likely of the rest."""
    binary = NotText("is not text (it looks like binary data); name a text, HTML or PDF file")
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            try:
                return data[len(bom) :].decode(encoding)
            except UnicodeDecodeError:
                raise binary from None
    sample = data[:_SAMPLE_BYTES]
    controls = len(re.findall(rb"[\x00-\x08\x0e-\x1f\x7f]", sample))
    if b"\x00" in sample or controls > _MAX_CONTROL_SHARE * len(sample):
        raise binary
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        best = from_bytes(data).best()
    if best is None or best.percent_chaos > _MAX_DISORDER * 100:
        raise binary
    return str(best)


def _pdf_text(data: bytes, max_chars: int) -> str:
    """The text of a PDF, its pages apart by an empty line; the reading stops at the limit."""
    # Imported here: pypdf takes 0.1 s and 15 MB that most readers never need.
    from memory.pdf_text import pdf_to_text  # noqa: PLC0415

    return pdf_to_text(data, max_chars)
