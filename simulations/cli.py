"""`bizra-sim`: run one scenario, explore many seeds, replay what was found, and show that it finds something.

Exit codes: 0 all held, 1 an invariant broke, 2 wrong usage or a file that is no scenario.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter

import click
import msgspec

from simulations.cli_mutants import mutants_command
from simulations.expand import expand
from simulations.explore import Run, Summary, commit, explore
from simulations.federation import run
from simulations.scenario import Scenario
from simulations.scenario_file import ScenarioError, dump, load
from simulations.trace import Trace
from simulations.world import Result

_SAVED = Path("sim-failures")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A deterministic simulator for the real consensus cores: faults, liars, virtual time."""


def _loaded(path: Path) -> Scenario:
    try:
        return load(path)
    except ScenarioError as error:
        raise click.UsageError(str(error)) from None


def _saved(scenario: Scenario, result: Result) -> Path:
    """Keep what broke, in a file that tells how to see it again."""
    _SAVED.mkdir(exist_ok=True)
    path = _SAVED / f"{(scenario.name or 'scenario').replace(' ', '-').replace('/', '-')}.toml"
    comment = (
        f"{result.violation}\ncommit {commit()}, trace {result.trace_hash}\nbizra-sim replay {path}"
    )
    path.write_text(dump(scenario, comment), encoding="utf-8")
    return path


def _one(scenario: Scenario, *, as_json: bool, trace: bool, again: str | None = None) -> None:
    """Run a scenario, say what came of it, and leave with the fitting code."""
    if not as_json:
        expanded = msgspec.json.encode(scenario).decode()
        click.echo(f"commit {commit()} seed {scenario.seed} scenario {expanded}")
    begin = perf_counter()
    result = run(scenario, Trace(click.echo if trace and not as_json else None))
    wall_s = perf_counter() - begin
    if again is None:
        again = f"bizra-sim run --seed {scenario.seed}"
        if result.violation is not None:
            again = f"bizra-sim replay {_saved(scenario, result)}"
    if as_json:
        click.echo(
            json.dumps(
                {
                    "scenario": msgspec.to_builtins(scenario),
                    "violation": result.violation,
                    "trace_hash": result.trace_hash,
                    "height": result.height,
                    "virtual_ms": result.end_ms,
                    "messages": result.messages,
                    "message_bytes": result.message_bytes,
                    "events": result.events,
                    "wall_s": round(wall_s, 3),
                    "marks": result.marks,
                    "commit": commit(),
                    "reproduce": again,
                }
            )
        )
    else:
        click.echo(
            f"{result.violation or 'all held'}: height {result.height}, {result.messages} messages,"
            f" {result.end_ms} virtual ms in {wall_s:.2f} s, trace {result.trace_hash}"
        )
        click.echo(again)
    if result.violation is not None:
        sys.exit(1)


@main.command("run")
@click.argument("scenario", required=False, type=click.Path(path_type=Path))
@click.option("--seed", type=int, help="Expand this seed, or give the scenario another one.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.option("--trace", is_flag=True, help="Print every transition.")
def run_command(scenario: Path | None, seed: int | None, *, as_json: bool, trace: bool) -> None:
    """Run a scenario file, or the scenario of a seed (0 if none is given)."""
    if scenario is None:
        chosen = expand(seed or 0)
    else:
        chosen = _loaded(scenario)
        if seed is not None:
            chosen = msgspec.structs.replace(chosen, seed=seed)
    _one(chosen, as_json=as_json, trace=trace)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.option("--trace/--no-trace", default=True, help="Print every transition (the default).")
def replay(file: Path, *, as_json: bool, trace: bool) -> None:
    """Run a saved scenario again, with every transition."""
    _one(_loaded(file), as_json=as_json, trace=trace, again=f"bizra-sim replay {file}")


@main.command("explore")
@click.option("--seeds", type=click.IntRange(1), default=200, show_default=True, help="How many.")
@click.option("--first", type=int, default=0, show_default=True, help="The first seed.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def explore_command(seeds: int, first: int, jobs: int, *, as_json: bool) -> None:
    """Run many seeds; save and name each one that breaks an invariant."""

    def tell(one: Run, summary: Summary) -> None:
        if one.violation is not None:
            scenario = expand(one.seed)
            path = _saved(scenario, run(scenario))
            summary.violations[-1] |= {"file": str(path), "reproduce": f"bizra-sim replay {path}"}
            if not as_json:
                click.echo(f"\rseed {one.seed}: {one.violation}\n  bizra-sim replay {path}")
        if sys.stderr.isatty() and not as_json:
            rate = summary.scenarios / max(summary.wall_s, 1e-9)
            click.echo(f"\r{summary.scenarios}/{seeds} seeds, {rate:.1f}/s ", nl=False, err=True)

    summary = explore(range(first, first + seeds), jobs, tell)
    found = summary.as_json()
    if as_json:
        click.echo(json.dumps(found))
    else:
        click.echo(
            f"\r{summary.scenarios} scenarios, {len(summary.violations)} violations,"
            f" {summary.messages} messages in {summary.wall_s:.1f} s"
            f" ({found['messages_per_s']}/s), commit {summary.commit}"
        )
        for name, count in sorted(summary.marks.items()):
            click.echo(f"  {count:>8}  {name}")
    if summary.violations:
        sys.exit(1)


main.add_command(mutants_command)
