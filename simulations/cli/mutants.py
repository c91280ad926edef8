"""`bizra-sim mutants`: break the protocol on purpose and see who notices."""

from __future__ import annotations

import json
import sys

import click

from simulations.hunting.hunt import Found, Score, scoreboard
from simulations.hunting.mutants import BY_NAME, MUTANTS


@click.command("mutants")
@click.option(
    "--seeds", type=click.IntRange(1), default=500, show_default=True, help="At most, for each."
)
@click.option(
    "--starts",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="From so many starting points; median and 95th percentile are over these.",
)
@click.option("--only", multiple=True, help="The name of a mutant; may be repeated.")
@click.option("--listed", is_flag=True, help="Only the numbered list of 22.")
@click.option("--all-seeds", is_flag=True, help="Go on after the first detection, for exact rates.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def mutants_command(
    seeds: int,
    starts: int,
    only: tuple[str, ...],
    *,
    listed: bool,
    all_seeds: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Break the protocol on purpose, one way at a time, and count how many seeds pass until it is noticed."""
    for name in only:
        if name not in BY_NAME:
            raise click.UsageError(f"no mutant {name}; there are {', '.join(BY_NAME)}")
    chosen = [
        mutant
        for mutant in MUTANTS
        if (not only or mutant.name in only) and (not listed or mutant.number is not None)
    ]

    def tell(found: Found) -> None:
        click.echo(f"  {found.name}: {found.first or 'missed'} {found.how[:80]}", err=True)

    scores, alarms = scoreboard(
        chosen, seeds=seeds, starts=starts, jobs=jobs, stop_at_first=not all_seeds, tell=tell
    )
    if as_json:
        rows = [score.as_json() for score in scores]
        click.echo(json.dumps({"mutants": rows, "false_alarms": alarms}))
    else:
        _print(scores, alarms)
    if alarms or not all(score.detected for score in scores):
        sys.exit(1)


def _print(scores: list[Score], alarms: list[dict[str, object]]) -> None:
    click.echo(f"{'':>3} {'mutant':<24} {'found':>5} {'median':>7} {'95 %':>7}  tier")
    for score in scores:
        row = score.as_json()
        found = sum(one.first is not None for one in score.hunts)
        click.echo(
            f"{score.mutant.number or '':>3} {score.mutant.name:<24} {found:>2}/{len(score.hunts):<2}"
            f" {row['seeds_to_detection'] or '-':>7} {row['seeds_to_detection_p95'] or '-':>7}"
            f"  {row['tier'] or 'missed'}"
        )
    click.echo(f"the sound protocol: {len(alarms)} alarms over the same seeds")
    for alarm in alarms:
        click.echo(f"  {alarm['family']}, seed {alarm['seed']}: {alarm['violation']}")
