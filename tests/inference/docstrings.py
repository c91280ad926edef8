"""Summary line -> body of the standard library's docstrings: a retrieval test that every Python has."""

from __future__ import annotations

import importlib
import inspect
import random
import sys
import warnings
from collections.abc import Iterator

MIN_SUMMARY_WORDS = 4
MIN_BODY_CHARS = 80
_LOUD = frozenset({"antigravity", "this", "idlelib", "lib2to3", "test", "turtledemo", "tkinter"})


def pairs(count: int) -> list[tuple[str, str]]:
    """Up to `count` distinct (summary, body) pairs, the same ones each time on one Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated modules and names are read too
        found = dict(_pairs())
    chosen = sorted(found.items())
    random.Random(1).shuffle(chosen)
    return chosen[:count]


def _pairs() -> Iterator[tuple[str, str]]:
    for name in sorted(sys.stdlib_module_names):
        if name.startswith("_") or name in _LOUD:
            continue
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        yield from _of_module(module.__name__, vars(module))


def _of_module(name: str, names: dict[str, object]) -> Iterator[tuple[str, str]]:
    for value in names.values():
        if getattr(value, "__module__", None) != name:
            continue
        members = list(vars(value).values()) if inspect.isclass(value) else []
        for each in (value, *members):
            if inspect.isclass(each) or inspect.isroutine(each):
                yield from _split(getattr(each, "__doc__", None))


def _split(docstring: object) -> Iterator[tuple[str, str]]:
    if not isinstance(docstring, str):
        return
    summary, _, body = inspect.cleandoc(docstring).partition("\n\n")
    summary = " ".join(summary.split())
    if len(summary.split()) >= MIN_SUMMARY_WORDS and len(body.strip()) >= MIN_BODY_CHARS:
        yield summary, body.strip()
