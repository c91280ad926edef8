"""The one way in which reading a file's text fails."""

from __future__ import annotations


class NotText(Exception):  # noqa: N818  # a judgement on the file, not on the program
    """Why the bytes give no text; the sentence continues "FILE ...", and says what to do."""
