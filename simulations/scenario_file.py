"""Scenarios as TOML: readable, complete, and refused with the line and what would be allowed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import msgspec

from simulations.scenario import ActorKind, Scenario, fault_of


class ScenarioError(ValueError):
    """The file is no scenario; the text says where and why."""


def load(path: Path) -> Scenario:
    """Read a scenario. Raises `ScenarioError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{path}: not a text file") from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Scenario:
    """Read a scenario from its text; `name` is for the errors. Raises `ScenarioError`."""
    try:
        scenario = msgspec.convert(tomllib.loads(text), Scenario)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{name}: {error}") from None
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{name}: {_explained(str(error), text)}") from None
    fault = fault_of(scenario)
    if fault:
        raise ScenarioError(f"{name}: {fault}")
    return scenario


def _explained(error: str, text: str) -> str:
    """Msgspec's sentence with the line it speaks of and, for a name that is not known, the names that are."""
    quoted = re.search(
        r"unknown field `([^`]*)`|`\$[^`]*?\.?(\w+)`$|Invalid value '([^']*)'", error
    )
    word = next((found for found in quoted.groups() if found), "") if quoted else ""
    lines = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if word and re.search(rf"\b{re.escape(word)}\b", line)
    ]
    where = f"line {lines[0]}: " if lines else ""
    known = ""
    if "unknown field" in error:
        known = f"; known at the top: {', '.join(Scenario.__struct_fields__)}"
    elif "Invalid enum value" in error or "Invalid value" in error:
        known = f"; kinds of faults: crash, pause, partition; of actors: {', '.join(get_args(ActorKind))}"
    return f"{where}{error}{known}"


def dump(scenario: Scenario, comment: str = "") -> str:
    """The text of a scenario; every field that is not at its default, tables last."""
    lines = [f"# {line}" for line in comment.splitlines()]
    _table(lines, (), msgspec.to_builtins(scenario), msgspec.to_builtins(_plain(scenario)))
    return "\n".join(lines) + "\n"


def _plain(scenario: Scenario) -> Scenario:
    return Scenario(seed=scenario.seed, weights=scenario.weights)


def _table(
    lines: list[str], path: tuple[str, ...], value: dict[str, Any], plain: dict[str, Any]
) -> None:
    always = {"seed", "weights", "heal_ms"}
    for key, one in value.items():
        is_plain = one is False or (key in plain and one == plain[key] and key not in always)
        if not isinstance(one, dict) and not _is_tables(one) and not is_plain:
            lines.append(f"{key} = {_literal(one)}")
    for key, one in value.items():
        if isinstance(one, dict) and one != plain.get(key):
            lines += ["", f"[{'.'.join((*path, key))}]"]
            _table(lines, (*path, key), one, plain.get(key, {}))
        elif _is_tables(one):
            for row in one:
                lines += ["", f"[[{'.'.join((*path, key))}]]"]
                _table(lines, (*path, key), row, {})


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
        case _:
            raise TypeError(f"no TOML for {type(value).__name__}")
