"""Where in a TOML text each key stands, for errors that name the line."""

from __future__ import annotations

import re
from collections import Counter

_HEADER = re.compile(r"\s*(\[\[|\[)\s*([\w.\-]+)\s*\]")
_KEY = re.compile(r"\s*([\w\-]+)\s*=\s*(\S?)(.*)")
_INLINE = re.compile(r"([\w\-]+)\s*=")


def lines_of(text: str) -> dict[str, int]:
    """The line of each key and table, by its path: `heal_ms`, `network`, `faults[1].at_ms`. The first counts."""
    found: dict[str, int] = {}
    counted: Counter[str] = Counter()
    table = array = ""
    for number, line in enumerate(text.splitlines(), 1):
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            table = header[2]
            if header[1] == "[[":
                found.setdefault(table, number)
                counted[table] += 1
                table = f"{table}[{counted[table] - 1}]"
            found.setdefault(table, number)
        elif key:
            array = path = f"{table}.{key[1]}" if table else key[1]
            found.setdefault(path, number)
            if key[2] == "{":
                _inline(found, path, key[3], number)
        elif line.lstrip().startswith("{") and array:
            path = f"{array}[{counted[array]}]"
            counted[array] += 1
            found.setdefault(path, number)
            _inline(found, path, line, number)
    return found


def _inline(found: dict[str, int], path: str, text: str, number: int) -> None:
    for key in _INLINE.findall(text):
        found.setdefault(f"{path}.{key}", number)


def line_near(found: dict[str, int], path: str) -> int | None:
    """The line of a path, or of the nearest table above it that is written out."""
    while path:
        if path in found:
            return found[path]
        shorter = re.sub(r"(\.[^.\[]+|\[\d+\])$", "", path)
        path = "" if shorter == path else shorter
    return None
