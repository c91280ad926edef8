"""Which outputs of one input are alike: equal bytes, or, for vectors, directions that hardly differ.

Two honest machines may compute the same model's vectors with differences in the last digits, so vectors are compared by
cosine; everything else a small model does here is chosen from its input and must be equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from inference.kinds import EmbedOutput, decode_output

LEAST_COSINE = 0.999
"""Between fp32 on different processors less than 1e-6 is lost; another model, or 8 bits, falls far below."""

_FLOAT_BYTES = 4

Name = TypeVar("Name")


def is_compared_by_meaning(kind: str) -> bool:
    """Whether outputs of a kind can be alike without being equal."""
    return kind == "embed"


def largest_alike(kind: str, outputs: Mapping[Name, bytes]) -> tuple[Name, ...]:
    """The names of most outputs that are all alike to one of them, in the order given."""
    best: tuple[Name, ...] = ()
    for one in outputs.values():
        found = tuple(name for name, other in outputs.items() if are_alike(kind, one, other))
        if len(found) > len(best):
            best = found
    return best


def are_alike(kind: str, one: bytes, other: bytes) -> bool:
    """Compare two outputs that decode as their kind."""
    if one == other:
        return True
    if not is_compared_by_meaning(kind):
        return False
    first, second = decode_output(kind, one), decode_output(kind, other)
    assert isinstance(first, EmbedOutput)
    assert isinstance(second, EmbedOutput)
    return _same_directions(first, second)


def _same_directions(first: EmbedOutput, second: EmbedOutput) -> bool:
    import numpy as np  # noqa: PLC0415 - 12 MB that a daemon without such a comparison does not need

    row_bytes = _FLOAT_BYTES * first.dimensions
    is_whole = len(first.vectors) and not len(first.vectors) % row_bytes
    shapes = {(one.dimensions, len(one.vectors), one.truncated) for one in (first, second)}
    if not is_whole or len(shapes) != 1:
        return False
    rows = [
        np.frombuffer(one.vectors, "<f4").reshape(-1, one.dimensions).astype(np.float64)
        for one in (first, second)
    ]
    lengths = np.linalg.norm(rows[0], axis=1) * np.linalg.norm(rows[1], axis=1)
    if not np.all(np.isfinite(lengths)) or not np.all(lengths > 0):
        return False
    cosines = np.sum(rows[0] * rows[1], axis=1) / lengths
    return bool(np.min(cosines) >= LEAST_COSINE)
