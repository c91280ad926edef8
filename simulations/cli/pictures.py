"""`report`: a run as one HTML page."""

from __future__ import annotations

import json
from pathlib import Path

import click

from simulations.cli.parts import SEED, broken_by, changed, found
from simulations.report import report


@click.command("report")
@click.argument("scenario")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Where to; else NAME.html here."
)
@click.option("--seed", type=SEED, help="Give the scenario another seed.")
@click.option("--mutant", default="", help="With this mistake switched on (see mutants).")
@click.option("--json", "wants_json", is_flag=True, help="One JSON object instead of text.")
def report_command(
    scenario: str, out: Path | None, seed: int | None, mutant: str, *, wants_json: bool
) -> None:
    """Draw a scenario (a file, or a name of the library) as a space-time diagram in one HTML file."""
    setting, replay = found(scenario)
    if seed is not None:
        setting = changed(setting, seed=seed)
    if not mutant and replay is not None:
        mutant = replay.mutant
    path = out or Path(f"{Path(scenario).stem}.html")
    with broken_by(mutant):
        result, page = report(setting)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}; name another with --out") from None
    if wants_json:
        told = {"file": str(path), "violation": result.violation, "trace_hash": result.trace_hash}
        click.echo(json.dumps(told))
        return
    click.echo(f"{result.violation or 'all held'}: open {path} in a browser")
