"""A node's models as its record lists them.

Each has a row of kind `models`: name, file, price, free slots. How many tokens it reads stands in a row of its own,
of kind `reads-N`: a record's rows have a fixed form, and a member that does not know the kind takes no notice of it, as
one that does takes none of its absence. What is missing there is only not known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gossip.membership.records import Capability

MODELS: Final = "models"
_READS: Final = re.compile(r"reads-([1-9][0-9]{0,9})", re.ASCII)
_MOST_TOKENS: Final = 10**10 - 1
"""More digits have no room in the name of a kind."""


def reads_row(model: Capability, tokens: int) -> Capability | None:
    """How many tokens the model of a row reads."""
    if not 1 <= tokens <= _MOST_TOKENS:
        return None
    return Capability(f"reads-{tokens}", model.name, model.model_hash, 0, 0)


def files_of(rows: Sequence[Capability]) -> dict[str, str]:
    """The SHA-256 in hex of each model's file."""
    return {
        one.name: one.model_hash.hex()
        for one in rows
        if one.kind == MODELS and one.model_hash is not None
    }


def contexts_of(rows: Sequence[Capability]) -> dict[str, int]:
    """How many tokens each model reads, where that is told for this very file; the least, if it is told twice."""
    files, contexts = files_of(rows), dict[str, int]()
    for one in rows:
        found = _READS.fullmatch(one.kind)
        if found is None or one.model_hash is None or files.get(one.name) != one.model_hash.hex():
            continue
        contexts[one.name] = min(int(found[1]), contexts.get(one.name, _MOST_TOKENS))
    return contexts
