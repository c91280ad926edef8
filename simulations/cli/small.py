"""`shrink`: from a scenario that breaks something to the smallest that still does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from simulations.cli.parts import broken_by, found
from simulations.hunting.shrink import MOST_RUNS, NothingBrokenError, Shrunk, shrink
from simulations.recording import record, renamed
from simulations.running import invariant_of
from simulations.scenario_file import dump
from simulations.worlds.setting import Setting


@click.command("shrink")
@click.argument("file")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where to; else beside FILE, as NAME-small.toml."
)
@click.option(
    "--runs", type=click.IntRange(1), default=MOST_RUNS, show_default=True, help="At most."
)
@click.option("--mutant", default="", help="With this mistake switched on (see mutants).")
@click.option("--json", "wants_json", is_flag=True, help="One JSON object instead of text.")
def shrink_command(
    file: str, out: Path | None, runs: int, mutant: str, *, wants_json: bool
) -> None:
    """Take away and round what the broken invariant doesn't need."""
    setting, replay = found(file)
    if not mutant and replay is not None:
        mutant = replay.mutant
    source = Path(file)
    path = out or source.with_name(f"{source.stem}-small.toml")

    def tell(tried: int, best: Setting) -> None:
        if sys.stderr.isatty():
            size = len(dump(best).splitlines())
            click.echo(f"\r{tried} runs, {size} lines ", nl=False, err=True)

    with broken_by(mutant):
        try:
            shrunk = shrink(setting, runs, tell)
        except NothingBrokenError:
            raise click.UsageError(
                f"{file}: this scenario breaks no invariant, so there is nothing to shrink"
            ) from None
        small = write_small(setting, shrunk, path, mutant)
    if sys.stderr.isatty():
        click.echo("", err=True)
    told = {
        "file": str(path),
        "violation": shrunk.result.violation,
        "runs": shrunk.runs,
        "lines": len(small.splitlines()),
        "reproduce": f"bizra-sim replay {path}",
    }
    if wants_json:
        click.echo(json.dumps(told))
        return
    click.echo(f"{shrunk.result.violation}: {told['lines']} lines after {shrunk.runs} runs")
    click.echo(told["reproduce"])


def write_small(before: Setting, shrunk: Shrunk, path: Path, mutant: str = "") -> str:
    """Write what is left of a scenario, with its run; the text."""
    why = f"breaks {invariant_of(shrunk.result.violation)!r}; shrunk from {before.name or 'a file'}"
    named = renamed(shrunk.setting, path.stem, why.replace("'", ""))
    _, replay = record(named, mutant)
    text = dump(named, f"bizra-sim replay {path}", replay)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return text
