"""`run`, `replay` and `list`: one scenario at a time."""

from __future__ import annotations

import json
import re
import shlex
import sys
from time import perf_counter
from typing import IO

import click

from simulations.cli.parts import (
    SEED,
    as_json,
    broken_by,
    changed,
    core_option,
    family_option,
    first_line,
    found,
    from_seed,
    pattern,
    printer,
    tell,
)
from simulations.library import scenarios
from simulations.recording import Comparison, Difference, commit, record, save
from simulations.running import run_any
from simulations.scenario_file import Replay
from simulations.seeds.families import Family
from simulations.worlds.setting import Setting
from simulations.worlds.trace import Trace

_MOST_CHANGES = 40


@click.command("run")
@click.argument("scenario", required=False)
@core_option
@family_option
@click.option("--seed", type=SEED, help="Expand this seed, or give the scenario another one.")
@click.option("--json", "wants_json", is_flag=True, help="One JSON object instead of text.")
@click.option("--trace", is_flag=True, help="Print every transition.")
@click.option("--messages", is_flag=True, help="Print every message too.")
@click.option(
    "--trace-jsonl", type=click.File("w"), help="Write both there, one JSON object a line."
)
@click.option("--until", "until_ms", type=click.IntRange(0), metavar="MS", help="Stop then.")
@click.option(
    "--break-on",
    metavar="REGEX",
    callback=pattern,
    help="Stop at the first transition in whose line this is found, and show every node.",
)
def run_command(
    scenario: str | None,
    *,
    core: str | None,
    family: Family,
    seed: int | None,
    trace_jsonl: IO[str] | None,
    until_ms: int | None,
    break_on: re.Pattern[str] | None,
    wants_json: bool,
    trace: bool,
    messages: bool,
) -> None:
    """Run a scenario: a file, a name of the library (see list), or the scenario of a seed (0 if none is given)."""
    if scenario is None:
        setting = from_seed(seed or 0, core, family)
    else:
        setting, _ = found(scenario)
        if seed is not None:
            setting = changed(setting, seed=seed)
    if not wants_json:
        click.echo(first_line(setting))
    hear = printer(text=(trace or messages) and not wants_json, jsonl=trace_jsonl)
    record_ = Trace(hear, messages=messages or trace_jsonl is not None)
    begin = perf_counter()
    result = run_any(setting, record_, until_ms=until_ms, break_on=break_on)
    wall_s = perf_counter() - begin
    again = f"bizra-sim run {scenario}" if scenario is not None else "bizra-sim run"
    again += f" --core {core}" if core is not None and scenario is None else ""
    again += f" --family {family}" if family != "federations" and scenario is None else ""
    again += f" --seed {setting.seed}" if seed is not None or scenario is None else ""
    again += f" --until {until_ms}" if until_ms is not None else ""
    again += f" --break-on {shlex.quote(break_on.pattern)}" if break_on is not None else ""
    if result.violation is not None:
        again = f"bizra-sim replay {save(setting, record(setting)[1])}"
    if wants_json:
        click.echo(json.dumps(as_json(setting, result, wall_s, again)))
    else:
        if break_on is not None and result.stopped is None:
            click.echo(
                f"no transition has {break_on.pattern!r} in its line; --trace shows them all"
            )
        tell(result, wall_s)
        click.echo(again)
    if result.violation is not None:
        sys.exit(1)


@click.command("replay")
@click.argument("file")
@click.option("--json", "wants_json", is_flag=True, help="One JSON object instead of text.")
@click.option("--trace/--no-trace", default=True, help="Print every transition (the default).")
@click.option("--messages", is_flag=True, help="Print every message too.")
def replay_command(file: str, *, wants_json: bool, trace: bool, messages: bool) -> None:
    """Run a saved scenario again, and say whether it is the run that was recorded."""
    setting, replay = found(file)
    with broken_by(replay.mutant if replay is not None else ""):
        _replayed(setting, replay, file, wants_json=wants_json, trace=trace, messages=messages)


def _replayed(
    setting: Setting,
    replay: Replay | None,
    file: str,
    *,
    wants_json: bool,
    trace: bool,
    messages: bool,
) -> None:
    if not wants_json:
        click.echo(first_line(setting))
    hear = printer(text=trace and not wants_json, jsonl=None)
    comparison = Comparison(replay or Replay(commit="", trace=""), hear, messages=messages)
    begin = perf_counter()
    result = run_any(setting, comparison.trace)
    wall_s = perf_counter() - begin
    again = f"bizra-sim replay {file}"
    difference = comparison.difference() if replay is not None else None
    if wants_json:
        told = as_json(setting, result, wall_s, again)
        if replay is not None:
            told["recorded"] = {
                "commit": replay.commit,
                "trace_hash": replay.trace,
                "same": difference is None,
                "agreeing": None if difference is None else difference.agreeing,
                "first_different": None if difference is None else list(difference.now),
                "changes": None if difference is None else list(difference.changes),
            }
        click.echo(json.dumps(told))
    else:
        tell(result, wall_s)
        if replay is not None:
            _compared(replay, difference)
        click.echo(again)
    if result.violation is not None:
        sys.exit(1)


def _compared(replay: Replay, difference: Difference | None) -> None:
    here = commit()
    if replay.commit != here:
        click.echo(f"recorded with commit {replay.commit}; this is {here}")
    if difference is None:
        click.echo(f"the same run as was recorded, to the last byte: trace {replay.trace}")
        return
    click.echo(
        f"not the run that was recorded (trace {replay.trace}, {replay.violation or 'all held'}):"
        f" the first {difference.agreeing} of {replay.lines} transitions are the same"
    )
    for line in _told(replay, difference):
        click.echo(line)


def _told(replay: Replay, difference: Difference) -> list[str]:
    """What is different, line by line as far as the recording says."""
    changes, now = difference.changes, difference.now
    if changes:
        told = ["gone (-) and new (+):", *(f"  {line}" for line in changes[:_MOST_CHANGES])]
        more = len(changes) - _MOST_CHANGES
        return [*told, f"  and {more} more (--json has all)"] if more > 0 else told
    if now:
        one_of = f"one of these {len(now)}" if len(now) > 1 else ""
        return [
            f"the first that differs is now{' ' + one_of if one_of else ''}:",
            *(f"  {line}" for line in now),
        ]
    if difference.agreeing >= replay.lines:
        return ["what differs lies between them: messages, and when they came"]
    return ["then the recorded run went on, and this one ends"]


@click.command("list")
@click.option("--json", "wants_json", is_flag=True, help="One JSON object instead of text.")
def list_command(*, wants_json: bool) -> None:
    """The scenarios of the library: their names, and why each exists."""
    known = scenarios()
    if wants_json:
        click.echo(json.dumps({one.name: one.why for one in known}))
        return
    width = max(len(one.name) for one in known)
    for one in known:
        click.echo(f"{one.name:<{width}}  {one.why}")
