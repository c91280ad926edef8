"""A run as one HTML page that needs nothing else: a space-time diagram of nodes, messages, views and faults."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

import msgspec

from simulations.recording import commit
from simulations.running import invariant_of, world_of
from simulations.scenario import Scenario
from simulations.scenario_file import dump
from simulations.worlds.faults import Fault
from simulations.worlds.result import Result
from simulations.worlds.setting import Setting
from simulations.worlds.trace import Entry, Message, Trace, Transition

MOST_MESSAGES = 40_000
"""A page with more than this is too slow to look at; the last ones are kept."""
_PARTS = ("style.css", "words.js", "paper.js", "draw.js", "hands.js")
_DOWN, _UP = "crashed", ("restarted",)


def report(setting: Setting) -> tuple[Result, str]:
    """Run a scenario and draw it; the page's text."""
    entries: list[Entry] = []
    trace = Trace(entries.append, messages=True)
    world = world_of(setting, trace)
    result = world.run()
    names = [process.name for process in world.processes]
    return result, page(drawn(setting, result, names, entries))


def drawn(
    setting: Setting, result: Result, names: list[str], entries: Iterable[Entry]
) -> dict[str, Any]:
    """Everything that the page shows."""
    place = {name: number for number, name in enumerate(names)}
    messages = [one for one in entries if isinstance(one, Message)]
    events = [one for one in entries if isinstance(one, Transition)]
    end_us = max(result.end_ms * 1000, *(one.t_us for one in events), 1)
    kinds = sorted({_kind(one.detail) for one in messages})
    dropped = max(0, len(messages) - MOST_MESSAGES)
    return {
        "name": setting.name or "a scenario",
        "why": setting.why,
        "seed": setting.seed,
        "commit": commit(),
        "trace": result.trace_hash,
        "violation": result.violation,
        "invariant": invariant_of(result.violation),
        "height": result.height if isinstance(setting, Scenario) else None,
        "sent": result.messages,
        "dropped": dropped,
        "end_us": end_us,
        "heal_us": setting.heal_ms * 1000,
        "marks": result.marks,
        "scenario": dump(setting),
        "nodes": [{"name": name, "role": _role(setting, name)} for name in names],
        "kinds": kinds,
        "messages": [
            [
                one.t_us,
                place[one.who],
                place[one.to],
                kinds.index(_kind(one.detail)),
                one.detail,
                one.arrives_us,
            ]
            for one in messages[dropped:]
        ],
        "events": [[one.t_us, place.get(one.who, -1), one.kind, one.detail] for one in events],
        "down": spans(events, place, end_us),
        "views": views(events, place, end_us),
        "faults": [_fault(fault, place) for fault in setting.faults],
    }


def _kind(label: str) -> str:
    """The first word of a message's label."""
    return label.replace("(", " ").split(" ", 1)[0]


def _role(setting: Setting, name: str) -> str:
    node = int("".join(letter for letter in name if letter.isdigit()))
    if isinstance(setting, Scenario):
        for actor in setting.actors:
            if actor.node == node:
                return actor.kind
        if node >= setting.founders:
            return "joins later"
    return "damaged disk" if node in setting.damaged else ""


def spans(events: list[Transition], place: dict[str, int], end_us: int) -> list[list[int]]:
    """When each node was down: node, from, to."""
    found: list[list[int]] = []
    since: dict[str, int] = {}
    for one in events:
        if one.kind == _DOWN:
            since.setdefault(one.who, one.t_us)
        elif one.kind in _UP and one.who in since:
            found.append([place[one.who], since.pop(one.who), one.t_us])
    return found + [[place[who], begin, end_us] for who, begin in since.items()]


def views(events: list[Transition], place: dict[str, int], end_us: int) -> list[list[int]]:
    """In which view each node was: node, from, to, view."""
    found: list[list[int]] = []
    last: dict[str, tuple[int, int]] = {}
    for one in events:
        if one.kind == "entered":
            view = int(one.detail.rpartition("view=")[2].split()[0])
            begin, before = last.get(one.who, (0, 0))
            if view != before:
                found.append([place[one.who], begin, one.t_us, before])
                last[one.who] = (one.t_us, view)
    for who, number in place.items():
        begin, view = last.get(who, (0, 0))
        found.append([number, begin, end_us, view])
    return found


def _fault(fault: Fault, place: dict[str, int]) -> dict[str, Any]:
    numbers = {f"n{node}{twin}" for node in fault.nodes_named for twin in ("", "a", "b")}
    told = [
        f"{field.name.replace('_', ' ')} {_plain(getattr(fault, field.name))}"
        for field in msgspec.structs.fields(type(fault))
        if field.name not in ("at_ms", "until_ms", "node")
        and getattr(fault, field.name) != field.default
    ]
    return {
        "kind": str(fault.__struct_config__.tag),
        "begin": fault.at_ms * 1000,
        "end": fault.end_ms * 1000,
        "nodes": sorted(number for name, number in place.items() if name in numbers),
        "text": ", ".join(told),
        "alone": hasattr(fault, "node"),
    }


def _plain(value: object) -> str:
    return ", ".join(map(_plain, value)) if isinstance(value, tuple) else str(value)


def page(shown: dict[str, Any]) -> str:
    """The page, with everything that it needs inside."""
    room = files("simulations.page")
    text = (room / "page.html").read_text(encoding="utf-8")
    told = json.dumps(shown, separators=(",", ":")).replace("<", "\\u003c")
    for name in _PARTS:
        text = text.replace(f"{{{{ {name} }}}}", (room / name).read_text(encoding="utf-8"), 1)
    return text.replace("{{ shown }}", told, 1)
