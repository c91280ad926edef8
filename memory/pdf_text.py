"""The text of a PDF by way of pypdf. Importing it costs 0.1 s: `memory/formats.py` waits for one.

A PDF is a program in the hands of a stranger: pypdf bounds what its streams may unpack to, and the
reading stops at the limit on characters.
"""

from __future__ import annotations

import logging
import re
from io import BytesIO
from typing import Final

from pypdf import PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError

from memory.not_text import NotText

_HYPHENATED: Final = re.compile(r"(?<=[a-z])-\n(?=[a-z])")

# Its warnings about slightly broken files say nothing that a reader could act on.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def pdf_to_text(data: bytes, max_chars: int) -> str:
    """The pages' text, an empty line between them; reading stops after `max_chars`.

    Raises `NotText`. (A PDF that is locked for changes only opens with the empty password, which
    pypdf tries by itself.)
    """
    try:
        pages = _pages(data, max_chars)
    except (FileNotDecryptedError, DependencyError):
        raise NotText(
            "is an encrypted PDF; save it without its password and name that file"
        ) from None
    except Exception as error:  # pypdf meets broken structure with whatever its code raises
        raise NotText(
            f"is a damaged PDF ({type(error).__name__}: {error}); save it anew"
        ) from error
    if not any(page.strip() for page in pages):
        raise NotText("is a PDF without text, probably scanned pages; run text recognition on it")
    return "\n\n".join(pages)


def _pages(data: bytes, max_chars: int) -> list[str]:
    pages: list[str] = []
    remaining_chars = max_chars
    for page in PdfReader(BytesIO(data)).pages:
        pages.append(_HYPHENATED.sub("", page.extract_text()))
        remaining_chars -= len(pages[-1])
        if remaining_chars < 0:
            break
    return pages
