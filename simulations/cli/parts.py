"""What the commands have in common: finding scenarios, printing runs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any, TypeVar

import click
import msgspec

from simulations.guest_world import GuestError
from simulations.hunting.mutants import switched_on_by_name
from simulations.library import UnknownScenarioError, named
from simulations.recording import commit
from simulations.running import setting_of_seed
from simulations.scenario_file import Replay, ScenarioError, load_replay, setting_fault_of
from simulations.seeds.families import FAMILIES, Family
from simulations.worlds.result import Result
from simulations.worlds.setting import Setting
from simulations.worlds.trace import Entry

SEED = click.IntRange(-(2**63), 2**63 - 1)
Command = TypeVar("Command", bound=Callable[..., Any])


def core_option(command: Command) -> Command:
    """`--core`, which stands for another protocol than Bizra's."""
    return click.option(
        "--core",
        metavar="MODULE:CLASS",
        callback=_importable,
        help="Somebody else's protocol: a class that derives from simulations.guest.Guest.",
    )(command)


def _importable(_context: click.Context, _option: click.Parameter, core: str | None) -> str | None:
    if core is not None:
        import_from_here()
    return core


def import_from_here() -> None:
    """Modules in the current folder can be named."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def family_option(command: Command) -> Command:
    """`--family`: which scenarios seeds expand to."""
    return click.option(
        "--family",
        type=click.Choice(list(FAMILIES)),
        default="federations",
        show_default=True,
        help="What seeds stand for: anything; snapshots from helpers that lie; as many liars as can be borne;"
        " whole nodes that hand tasks to each other; votes that go through collectors;"
        " 32 to 40 validators; a newer protocol, and nodes that do not know it yet.",
    )(command)


def from_seed(seed: int, core: str | None, family: Family = "federations") -> Setting:
    """The scenario of a seed."""
    try:
        return setting_of_seed(seed, core, family)
    except GuestError as error:
        raise click.UsageError(str(error)) from None


def found(name: str) -> tuple[Setting, Replay | None]:
    """A scenario by its file, or by its name in the library."""
    import_from_here()
    path = Path(name)
    try:
        if path.suffix == ".toml" or path.exists():
            if not path.exists():
                raise click.UsageError(
                    f"{name}: no such file; bizra-sim list shows scenarios that need none"
                )
            return load_replay(path)
        return named(name), None
    except (ScenarioError, UnknownScenarioError) as error:
        raise click.UsageError(str(error)) from None


def changed(setting: Setting, **fields: Any) -> Setting:  # noqa: ANN401 - fields of any scenario
    """The same with other fields, if that is still a scenario."""
    other: Setting = msgspec.structs.replace(setting, **fields)
    fault = setting_fault_of(other)
    if fault is not None:
        raise click.UsageError(fault)
    return other


def pattern(_context: click.Context, _option: click.Parameter, text: str | None) -> Any:  # noqa: ANN401
    """A regular expression."""
    if text is None:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        raise click.BadParameter(f"{text!r} is no regular expression: {error}") from None


def broken_by(mutant: str) -> AbstractContextManager[None]:
    """The cores with a mistake switched on, if one is named."""
    if not mutant:
        return nullcontext()
    try:
        return switched_on_by_name(mutant)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def first_line(setting: Setting) -> str:
    """Everything that a run depends on."""
    expanded = msgspec.json.encode(setting).decode()
    return f"commit {commit()} seed {setting.seed} scenario {expanded}"


def as_json(setting: Setting, result: Result, wall_s: float, again: str) -> dict[str, object]:
    """What `--json` prints of one run."""
    told: dict[str, object] = {
        "scenario": msgspec.to_builtins(setting),
        "violation": result.violation,
        "trace_hash": result.trace_hash,
        "height": result.height,
        "virtual_ms": result.end_ms,
        "messages": result.messages,
        "events": result.events,
        "wall_s": round(wall_s, 3),
        "marks": result.marks,
        "commit": commit(),
        "reproduce": again,
    }
    if result.stopped is not None:
        told |= {"stopped": result.stopped, "states": list(result.states)}
    return told


def tell(result: Result, wall_s: float) -> None:
    """The end of a run in words."""
    if result.stopped is not None:
        click.echo(f"stopped {result.stopped}; then every node:")
        for state in result.states:
            click.echo(f"  {state}")
    held = "all held" if result.stopped is None else "all held so far"
    click.echo(
        f"{result.violation or held}: height {result.height}, {result.messages} messages,"
        f" {result.end_ms} virtual ms in {wall_s:.2f} s, trace {result.trace_hash}"
    )


def printer(*, text: bool, jsonl: IO[str] | None) -> Callable[[Entry], None] | None:
    """Who prints the entries of a trace, if anybody."""
    if not text and jsonl is None:
        return None

    def print_entry(entry: Entry) -> None:
        if text:
            click.echo(str(entry))
        if jsonl is not None:
            jsonl.write(json.dumps(msgspec.to_builtins(entry)) + "\n")

    return print_entry
