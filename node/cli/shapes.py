"""Text for people: aligned tables, short ids, times."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

_SHORT = 12
_GAP = "  "
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


def short(name: str | None) -> str:
    """The beginning of an id, enough to type it again."""
    return "-" if name is None else name[:_SHORT]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> str:
    """Columns as wide as they must be; `empty` is said when there is no row."""
    lines = [tuple(heads), *(tuple(row) for row in rows)]
    if len(lines) == 1:
        return empty
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    return "\n".join(
        _GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values below each other."""
    lines = list(rows)
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name.ljust(width)}{_GAP}{value}".rstrip() for name, value in lines)


def moment(timestamp_ms: int) -> str:
    """A time as people of the whole world read it."""
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def age(timestamp_ms: int) -> str:
    """How long ago."""
    seconds = max(0, time.time_ns() // 1_000_000 - timestamp_ms) // 1000
    if seconds < _MINUTE_S:
        return f"{seconds} s ago"
    if seconds < _HOUR_S:
        return f"{seconds // _MINUTE_S} min ago"
    if seconds < _DAY_S:
        return f"{seconds // _HOUR_S} h ago"
    return f"{seconds // _DAY_S} d ago"


def plural(count: int, noun: str) -> str:
    """A number with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(size_bytes: int) -> str:
    """How many bytes, to three digits."""
    number, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 1000:  # noqa: PLR2004 - the step of the units
            break
        number, unit = number / 1000, larger
    return f"{number:.3g} {unit}"
