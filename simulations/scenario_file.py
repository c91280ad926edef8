"""Scenarios as TOML: readable, complete, and refused with the line, the key and what would be allowed."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from simulations.guest_world import GuestScenario, guest_fault
from simulations.kept_events import DamagedError, unpacked
from simulations.scenario import (
    Actor,
    ActorKind,
    Clients,
    Deed,
    Delays,
    Scenario,
    Snapshots,
    Tasks,
    Upgrade,
    Worker,
    WorkerKind,
    fault_of,
)
from simulations.toml_lines import line_near, lines_of
from simulations.worlds.faults import KINDS, Value
from simulations.worlds.setting import Disk, Network, Setting

_ALWAYS = frozenset(("seed", "weights", "heal_ms", "core", "nodes"))
_LONG = 100
"""A table that needs a longer line gets lines of its own."""
_UNITS = {
    "_ms": "a whole number of milliseconds",
    "_us": "a whole number of microseconds",
    "_ppm": "a whole number of millionths",
    "_per_s": "a whole number for each second",
}


class Replay(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a saved run remembers of itself, so that running it again can be compared."""

    commit: str
    """The code that it was recorded with."""
    trace: str
    """The hash of the whole run."""
    violation: str = ""
    lines: int = 0
    """How many transitions the run had."""
    marks: str = ""
    """Two characters for every so many lines; see `Trace.marks`."""
    events: str = ""
    """The transitions themselves, if they are not too many; see `kept_events`."""
    mutant: str = ""
    """The mistake that was switched on, if any."""


class _Saved(msgspec.Struct):
    replay: Replay | None = None


_TABLES: dict[str, type[Value]] = {
    "network": Network,
    "disk": Disk,
    "clients": Clients,
    "delays": Delays,
    "actors": Actor,
    "deeds": Deed,
    "snapshots": Snapshots,
    "upgrade": Upgrade,
    "tasks": Tasks,
    "workers": Worker,
    "replay": Replay,
}


class ScenarioError(ValueError):
    """The file is no scenario; the text says where and why."""


def load(path: Path) -> Setting:
    """Read a scenario. Raises `ScenarioError`."""
    return load_replay(path)[0]


def load_replay(path: Path) -> tuple[Setting, Replay | None]:
    """Read a scenario and what its run remembered. Raises `ScenarioError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{path}: not a text file") from None
    return parse_replay(text, str(path))


def parse(text: str, name: str) -> Setting:
    """Read a scenario from its text; `name` is for the errors. Raises `ScenarioError`."""
    return parse_replay(text, name)[0]


def _no_toml(told: str) -> str:
    """The line first, as in every other error."""
    what, is_placed, place = told.partition(" (at line ")
    where = f"line {place.rstrip(')')}: " if is_placed else ""
    return f"{where}{what}; a scenario is written in TOML"


def parse_replay(text: str, name: str) -> tuple[Setting, Replay | None]:
    """Read a scenario and what its run remembered, from their text. Raises `ScenarioError`."""
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{name}: {_no_toml(str(error))}") from None
    kind: type[Setting] = GuestScenario if "core" in fields else Scenario
    remembered = {key: fields.pop(key) for key in ("replay",) if key in fields}
    try:
        replay = msgspec.convert(remembered, _Saved).replay
        if replay is not None and replay.events:
            unpacked(replay.events)
        setting: Setting = msgspec.convert(fields, kind)
    except DamagedError as error:
        line = line_near(lines_of(text), "replay.events")
        raise ScenarioError(
            f"{name}: line {line}: replay.events: {error}; without this line the file runs all the same"
        ) from None
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{name}: {_explained(str(error), fields, kind, text)}") from None
    fault = setting_fault_of(setting)
    if fault:
        line = line_near(lines_of(text), fault.partition(":")[0])
        where = f"line {line}: " if line else ""
        raise ScenarioError(f"{name}: {where}{fault}")
    return setting, replay


def setting_fault_of(setting: Setting) -> str | None:
    """What is wrong with a scenario of any kind, or None."""
    return guest_fault(setting) if isinstance(setting, GuestScenario) else fault_of(_own(setting))


def _own(setting: Setting) -> Scenario:
    assert isinstance(setting, Scenario)
    return setting


def _explained(error: str, fields: dict[str, Any], kind: type[Setting], text: str) -> str:
    """Msgspec's sentence, with the line it speaks of and what would be allowed there."""
    found = re.search(r" - at `\$\.?([^`]*)`$", error)
    path = found[1] if found else ""
    sentence = error[: found.start()] if found else error
    unknown = re.search(r"unknown field `([^`]*)`", error)
    if unknown:
        path = f"{path}.{unknown[1]}".strip(".")
    line = line_near(lines_of(text), path)
    where = f"line {line}: " if line else ""
    return f"{where}{path + ': ' if path else ''}{sentence}{_allowed(path, fields, kind)}"


def _allowed(path: str, fields: dict[str, Any], kind: type[Setting]) -> str:
    table, _, key = path.rpartition(".")
    shape = _shape(table, fields, kind)
    if key == "kind" and table.startswith("faults"):
        return f"; kinds of faults: {', '.join(sorted(KINDS))}"
    if key == "kind" and table.startswith("actors"):
        return f"; kinds of actors: {', '.join(get_args(ActorKind))}"
    if key == "kind" and table.startswith("workers"):
        return f"; kinds of workers: {', '.join(get_args(WorkerKind))}"
    if shape is None:
        return ""
    if key in shape.__struct_fields__:
        hint = get_type_hints(shape).get(key)
        if get_origin(hint) is Literal:
            return f"; allowed: {', '.join(map(str, get_args(hint)))}"
        unit = next((unit for end, unit in _UNITS.items() if key.endswith(end)), "")
        return f"; it is {unit}" if unit else ""
    near = difflib.get_close_matches(key, shape.__struct_fields__, 1)
    did = f"; did you mean {near[0]}?" if near and key else ""
    return f"{did}; known here: {', '.join(shape.__struct_fields__)}"


def _shape(table: str, fields: dict[str, Any], kind: type[Setting]) -> type[Value] | None:
    """What may stand in a table."""
    if not table:
        return kind
    numbered = re.fullmatch(r"faults\[(\d+)\]", table)
    if numbered:
        fault = fields["faults"][int(numbered[1])]
        return KINDS.get(str(fault.get("kind"))) if isinstance(fault, dict) else None
    return _TABLES.get(re.sub(r"\[\d+\]$", "", table))


def dump(setting: Setting, comment: str = "", replay: Replay | None = None) -> str:
    """The text of a scenario: every field that is not at its default, one line for each fault, tables last."""
    lines = [f"# {line}" for line in comment.splitlines()]
    shown = _shown(msgspec.to_builtins(setting), msgspec.to_builtins(_plain(setting)), _ALWAYS)
    tables: dict[str, dict[str, Any]] = {}
    for key, value in shown.items():
        line = f"{key} = {_literal(value)}"
        if _is_tables(value):
            lines += [f"{key} = [", *(f"  {_literal(row)}," for row in _rows(value)), "]"]
        elif isinstance(value, dict) and len(line) > _LONG:
            tables[key] = value
        else:
            lines.append(line)
    if replay is not None:
        tables["replay"] = _shown(msgspec.to_builtins(replay), _defaults(Replay))
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_literal(one)}" for key, one in table.items())]
    return "\n".join(lines) + "\n"


def _shown(
    value: dict[str, Any], plain: dict[str, Any], always: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """What differs from the default, in tables within as well."""
    shown: dict[str, Any] = {}
    for key, one in value.items():
        if one is None or (key in plain and one == plain[key] and key not in always):
            continue
        inner = isinstance(one, dict) and isinstance(plain.get(key), dict)
        shown[key] = _shown(one, plain[key]) if inner else one
    return shown


def _rows(tables: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Faults without what is at its default; the kind first."""
    rows = []
    for row in tables:
        kind = KINDS.get(str(row.get("kind")))
        plain = {} if kind is None else msgspec.to_builtins(_defaults(kind))
        shown = _shown(row, plain)
        rows.append({"kind": shown.pop("kind")} | shown if kind is not None else shown)
    return rows


def _plain(setting: Setting) -> Setting:
    if isinstance(setting, GuestScenario):
        return GuestScenario(seed=setting.seed, core=setting.core, nodes=setting.nodes)
    own = _own(setting)
    return Scenario(seed=own.seed, weights=own.weights)


def _defaults(kind: type[Value]) -> dict[str, Any]:
    """The fields that need not be written, with what they are then."""
    fields = msgspec.structs.fields(kind)
    return {one.name: one.default for one in fields if one.default is not msgspec.NODEFAULT}


def _is_tables(value: object) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], dict)


def _literal(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return msgspec.json.encode(value).decode()
        case list() | tuple():
            return f"[{', '.join(map(_literal, value))}]"
        case dict():
            said = (f"{key} = {_literal(one)}" for key, one in value.items() if one is not None)
            return f"{{ {', '.join(said)} }}"
        case _:
            raise TypeError(f"no TOML for {type(value).__name__}")
