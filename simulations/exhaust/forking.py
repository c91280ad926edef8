"""Copies and fingerprints of a core's state, for walking through all of its futures.

A core's state is objects with attributes over plain containers; what is frozen (wire values, frozen dataclasses) is
shared by all copies and stands for itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from enum import Enum
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any

import msgspec

_ATOMS = (
    bool,
    int,
    str,
    bytes,
    float,
    type(None),
    Enum,
    msgspec.Struct,
    FunctionType,
    MethodType,
    BuiltinMethodType,
)


def fork(state: Any, shared: frozenset[int] = frozenset()) -> Any:  # noqa: ANN401 - any core
    """A copy that shares nothing that can change; objects whose `id` is in `shared` are not copied."""
    if isinstance(state, _ATOMS) or id(state) in shared:
        return state
    kind = type(state)
    if kind is dict:
        return {key: fork(value, shared) for key, value in state.items()}
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return kind(fork(value, shared) for value in state)
    if kind is deque:
        return deque((fork(value, shared) for value in state), state.maxlen)
    if _is_frozen(kind):
        return state
    copy = object.__new__(kind)
    for name, value in _attributes(state):
        object.__setattr__(copy, name, fork(value, shared))
    return copy


def frozen(state: Any, leave_out: frozenset[str], shared: frozenset[int]) -> Hashable:  # noqa: ANN401
    """A hashable value that is equal for equal states; attributes named in `leave_out` do not count.

    Dictionaries and sets are equal whatever the order in which they were filled.
    """
    if isinstance(state, _ATOMS):
        return state
    if id(state) in shared:
        return None
    kind = type(state)
    if kind is dict:
        return frozenset((key, frozen(value, leave_out, shared)) for key, value in state.items())
    if kind is set or kind is frozenset:
        return frozenset(frozen(value, leave_out, shared) for value in state)
    if kind in {list, tuple, deque}:
        return tuple(frozen(value, leave_out, shared) for value in state)
    if _is_frozen(kind) and getattr(kind, "__hash__", None) is not None:
        return state  # type: ignore[no-any-return]
    return tuple(
        frozen(value, leave_out, shared)
        for name, value in _attributes(state)
        if name not in leave_out
    )


def _is_frozen(kind: type) -> bool:
    parameters = getattr(kind, "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


def _attributes(state: object) -> Iterator[tuple[str, Any]]:
    for owner in type(state).__mro__:
        for name in owner.__dict__.get("__slots__", ()):
            if hasattr(state, name):
                yield name, getattr(state, name)
    yield from sorted(getattr(state, "__dict__", {}).items())
