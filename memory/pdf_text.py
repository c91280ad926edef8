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
from pypdf.errors import DependencyError, FileNotDecryptedError, PyPdfError

from memory.formats import NotText

_HYPHENATED: Final = re.compile(r"(?<=[a-z])-\n(?=[a-z])")

# Its warnings about slightly broken files say nothing that a reader could act on.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def pdf_to_text(data: bytes, max_chars: int) -> str:
    """All pages' text, an empty line between them. Raises `NotText`."""
    locked = NotText("is an encrypted PDF; save it without its password and name that file")
    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise locked
        pages: list[str] = []
        length = 0
        for page in reader.pages:
            pages.append(_HYPHENATED.sub("", page.extract_text()))
            length += len(pages[-1])
            if length > max_chars:
                raise NotText(f"holds more than {max_chars:,} characters; split it")
    except (FileNotDecryptedError, DependencyError):
        raise locked from None
    except (
        PyPdfError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        # pypdf meets broken structure with whatever its code happens to raise.
        raise NotText(
            f"is a damaged PDF ({type(error).__name__}: {error}); save it anew"
        ) from error
    if not any(page.strip() for page in pages):
        raise NotText("is a PDF without text, probably scanned pages; run text recognition on it")
    return "\n\n".join(pages)
