"""`bizra-sim exhaust`: every interleaving of a few replicas, within bounds."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext

import click

from simulations.exhaust.exhaustive import MOST_STATES, Case, Checked, cases, check
from simulations.hunting.mutants import BY_NAME, switched_on
from simulations.recording import commit


@click.command("exhaust")
@click.option("--views", type=click.IntRange(1, 4), default=2, show_default=True, help="Views.")
@click.option("--heights", type=click.IntRange(1, 4), default=2, show_default=True, help="Blocks.")
@click.option("--case", "wanted", help="Only cases whose name has this in it.")
@click.option("--asks", is_flag=True, help="Liars ask for views as well; takes far longer.")
@click.option("--mutant", help="Break the core first, to see that it is found.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=MOST_STATES,
    show_default=True,
    help="Give a case up beyond so many states.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def exhaust_command(
    views: int,
    heights: int,
    wanted: str | None,
    *,
    asks: bool,
    mutant: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Explore every interleaving of the real consensus core in small cases: a proof within its bounds."""
    chosen = [
        one for one in cases(views, heights, asks=asks) if wanted is None or wanted in one.name
    ]
    if not chosen:
        names = "\n  ".join(one.name for one in cases(views, heights))
        raise click.UsageError(f"no case has {wanted!r} in its name; there are\n  {names}")
    if mutant is not None and mutant not in BY_NAME:
        raise click.UsageError(f"no mutant {mutant}; there are {', '.join(BY_NAME)}")
    results: list[Checked] = []
    shows = sys.stderr.isatty() and not as_json
    with switched_on(BY_NAME[mutant]) if mutant is not None else nullcontext():
        for case in chosen:
            results.append(check(case, limit, _show if shows else None))
            if shows:
                click.echo("\r\x1b[K", nl=False, err=True)
            if not as_json:
                _print(case, results[-1])
    states, wall_s = sum(one.states for one in results), sum(one.wall_s for one in results)
    if as_json:
        click.echo(json.dumps(_as_json(results, mutant)))
    else:
        broken = sum(one.violation is not None for one in results)
        unfinished = sum(not one.is_complete and one.violation is None for one in results)
        click.echo(
            f"{len(results)} cases, {states} states, {wall_s:.1f} s:"
            f" {broken} violations, {unfinished} not walked to the end"
        )
    if any(one.violation is not None for one in results):
        sys.exit(1)


def _show(case: Case, states: int) -> None:
    click.echo(f"\r\x1b[K{case.name}: {states} states so far", nl=False, err=True)


def _print(case: Case, result: Checked) -> None:
    end = result.violation or ("all held" if result.is_complete else "given up at the limit")
    click.echo(
        f"{case.name}: {case.views} views, {case.heights} heights: {result.states} states,"
        f" {result.steps} steps, {result.cores} states of the core, {result.wall_s:.1f} s: {end}"
    )
    for line in result.history:
        click.echo(f"    {line}")


def _as_json(results: list[Checked], mutant: str | None) -> dict[str, object]:
    return {
        "cases": [
            {
                "name": one.case.name,
                "views": one.case.views,
                "heights": one.case.heights,
                "states": one.states,
                "steps": one.steps,
                "core_states": one.cores,
                "core_runs": one.core_runs,
                "wall_s": round(one.wall_s, 3),
                "complete": one.is_complete,
                "violation": one.violation,
                "history": list(one.history),
            }
            for one in results
        ],
        "states": sum(one.states for one in results),
        "wall_s": round(sum(one.wall_s for one in results), 3),
        "violations": [one.violation for one in results if one.violation is not None],
        "mutant": mutant,
        "commit": commit(),
    }
