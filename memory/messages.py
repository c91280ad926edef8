"""The wire types of this floor: what a task carries from node to node."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

MAX_NAME_CHARS: Final = 1024
MAX_TEXT_CHARS: Final = 1_000_000


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A name (for a file: its path below the folder that was read) and its text, never empty."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARS)]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT_CHARS)]
