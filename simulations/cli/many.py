"""`explore`: many seeds over several processes."""

from __future__ import annotations

import json
import sys

import click

from simulations.cli.parts import SEED, core_option, family_option, from_seed
from simulations.cli.small import write_small
from simulations.hunting.explore import Run, Summary, explore
from simulations.hunting.shrink import shrink
from simulations.recording import FOLDER, record, save
from simulations.seeds.families import Family
from simulations.worlds.setting import Setting

_SHRINK_RUNS = 200
_SHRINK_EVENTS = 500_000
_MOST_SHRUNK = 5
_BAR = 24
_INTERRUPTED = 130


@click.command("explore")
@click.option("--seeds", type=click.IntRange(1), default=200, show_default=True, help="How many.")
@click.option("--first", type=SEED, default=0, show_default=True, help="The first seed.")
@core_option
@family_option
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option(
    "--shrink/--no-shrink",
    "shrinks",
    default=True,
    help=f"Shrink what breaks (the first {_MOST_SHRUNK} seeds; on by default).",
)
@click.option(
    "--kinds", is_flag=True, help="Count how many founders and liars there were, too, and so on."
)
@click.option("--json", "wants_json", is_flag=True, help="One JSON object instead of text.")
def explore_command(
    seeds: int,
    first: int,
    core: str | None,
    family: Family,
    jobs: int,
    *,
    shrinks: bool,
    kinds: bool,
    wants_json: bool,
) -> None:
    """Run many seeds; save, shrink and name each one that breaks an invariant."""
    from_seed(first, core)  # a wrong --core is told at once
    shows = sys.stderr.isatty() and not wants_json

    def tell(one: Run, summary: Summary) -> None:
        if one.violation is not None:
            small = shrinks and len(summary.violations) <= _MOST_SHRUNK
            saved = _saved(from_seed(one.seed, core, family), small=small)
            summary.violations[-1] |= saved
            if not wants_json:
                clear = "\r\x1b[K" if shows else ""
                click.echo(f"{clear}seed {one.seed}: {one.violation}\n  {saved['reproduce']}")
        if shows:
            click.echo(f"\r\x1b[K{_bar(summary, seeds)}", nl=False, err=True)

    summary = explore(range(first, first + seeds), jobs, tell, core=core, family=family)
    if shows:
        click.echo("", err=True)
    told = summary.as_json()
    counted = dict(sorted(summary.kinds.items())) if kinds else {}
    if wants_json:
        told |= {"kinds": counted} if kinds else {}
        click.echo(json.dumps(told))
    else:
        early = f" of {seeds}, interrupted" if summary.is_interrupted else ""
        click.echo(
            f"{summary.scenarios} scenarios{early}, {len(summary.violations)} violations,"
            f" {summary.messages} messages in {summary.wall_s:.1f} s"
            f" ({told['messages_per_s']}/s), commit {summary.commit}"
        )
        for name, count in (*sorted(summary.marks.items()), *counted.items()):
            click.echo(f"  {count or 'never':>8}  {name}")
    if summary.is_interrupted:
        sys.exit(_INTERRUPTED)
    if summary.violations:
        sys.exit(1)


def _saved(setting: Setting, *, small: bool) -> dict[str, object]:
    """Keep a scenario that breaks something, as small as can be, and say where."""
    path = save(setting, record(setting)[1])
    if small:
        path = FOLDER / f"{path.stem}-small.toml"
        write_small(setting, shrink(setting, _SHRINK_RUNS, most_events=_SHRINK_EVENTS), path)
    return {"file": str(path), "reproduce": f"bizra-sim replay {path}"}


def _bar(summary: Summary, seeds: int) -> str:
    """How far, how fast, what broke, and the rarest things that have happened."""
    done = _BAR * summary.scenarios // seeds
    rate = summary.scenarios / max(summary.wall_s, 1e-9)
    rarest = sorted(summary.marks.items(), key=lambda item: (item[1], item[0]))[:2]
    told = ", ".join(f"{name} {count}" for name, count in rarest)
    return (
        f"[{'#' * done}{'.' * (_BAR - done)}] {summary.scenarios}/{seeds} {rate:.1f} seeds/s"
        f"  broken {len(summary.violations)}  marks {len(summary.marks)} (rarest: {told})"
    )[:150]
