"""The first difference between what a node says and what its chain comes to, in words."""

from __future__ import annotations

from typing import Any

_IDENTITIES = ("txHash", "cursor", "task_id", "id", "node_id")
_MOST = 80


def first_difference(told: object, own: object) -> str | None:
    """Where an answer, as it came in JSON, differs from the true one; None if it doesn't.

    What a node calls its peers is no part of the chain: a `name` that the true answer leaves empty is not compared.
    """
    return _difference(told, own, "")


def _difference(told: object, own: object, where: str) -> str | None:
    if isinstance(own, dict) and isinstance(told, dict):
        return _of_objects(told, own, where)
    if isinstance(own, list) and isinstance(told, list):
        return _of_lists(told, own, where)
    if type(told) is type(own) and told == own:
        return None
    return f"{where or 'the answer'} is {_shown(told)}; the chain says {_shown(own)}"


def _of_objects(told: dict[str, Any], own: dict[str, Any], where: str) -> str | None:
    place = f"{where}." if where else ""
    for key, true in own.items():
        if key not in told:
            return f"{place}{key} is missing; the chain says {_shown(true)}"
        if key == "name" and true == "" and isinstance(told[key], str):
            continue
        fault = _difference(told[key], true, f"{place}{key}")
        if fault is not None:
            return fault
    unknown = next((key for key in told if key not in own), None)
    return None if unknown is None else f"{place}{unknown[:_MOST]} is nothing that belongs there"


def _of_lists(told: list[Any], own: list[Any], where: str) -> str | None:
    identity = next((one for one in _IDENTITIES if own and one in _keys(own[0])), None)
    if identity is None or not all(identity in _keys(one) for one in (*told, *own)):
        if len(told) != len(own):
            return f"{where or 'the list'} has {len(told)} items; the chain says {len(own)}"
        pairs = enumerate(zip(told, own, strict=True))
        found = (_difference(one, true, f"{where}[{at}]") for at, (one, true) in pairs)
        return next((fault for fault in found if fault is not None), None)
    return _of_items(told, own, where or "the list", identity)


def _of_items(told: list[Any], own: list[Any], where: str, identity: str) -> str | None:
    """The same of items that have names."""
    names, true_names = [one[identity] for one in told], [one[identity] for one in own]
    for at, (name, true) in enumerate(zip(names, true_names, strict=False)):
        if name != true and true not in names:
            return f"{where} leaves out {identity} {_shown(true)}, which belongs at place {at + 1}"
        if name != true and name not in true_names:
            return f"{where} has {identity} {_shown(name)} at place {at + 1}, which the chain has not there"
        if name != true:
            return f"{where} has {identity} {_shown(name)} at place {at + 1}, where {_shown(true)} belongs"
        fault = _difference(told[at], own[at], f"{where}: {identity} {_shown(name)}")
        if fault is not None:
            return fault
    if len(told) < len(own):
        return f"{where} leaves out {identity} {_shown(true_names[len(told)])}, the next after its last item"
    if len(told) > len(own):
        return f"{where} has {identity} {_shown(names[len(own)])} too many"
    return None


def _keys(one: object) -> frozenset[str]:
    return frozenset(one) if isinstance(one, dict) else frozenset()


def _shown(value: object) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= _MOST else f"{text[:_MOST]}.."
