"""`bizra-sim`: run a scenario, explore many seeds, replay, shrink and draw what was found, hunt mutants.

Exit codes: 0 all held, 1 an invariant broke (or a mutant went unnoticed), 2 wrong usage or a file that is no scenario,
130 interrupted.
"""

from __future__ import annotations

from typing import Any

import click

from simulations.cli.exhaust import exhaust_command
from simulations.cli.large import large_sets_command
from simulations.cli.many import explore_command
from simulations.cli.mutants import mutants_command
from simulations.cli.one import list_command, replay_command, run_command
from simulations.cli.pictures import report_command
from simulations.cli.small import shrink_command
from simulations.hunting.rubbish import collected_seldom


class _Group(click.Group):
    """Runs commands without needless passes over memory; tells what could not be written in a sentence."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as in click
        try:
            with collected_seldom():
                return super().invoke(ctx)
        except OSError as error:
            if error.filename is None:
                raise
            raise click.ClickException(
                f"{error.filename}: {error.strerror}; run it in a folder that can be written to"
            ) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A deterministic simulator for the real cores, or for yours: faults, liars, virtual time."""


for _command in (
    run_command,
    explore_command,
    replay_command,
    shrink_command,
    report_command,
    list_command,
    mutants_command,
    exhaust_command,
    large_sets_command,
):
    main.add_command(_command)

__all__ = ["main"]
