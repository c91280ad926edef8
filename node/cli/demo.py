"""`bizra-node demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from node.cli.session import Session, with_session
from node.demo import main as run_demo


@click.command()
@click.option("--nodes", type=click.IntRange(4, 7), default=4, show_default=True)
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE|DIR",
    help="What the nodes work on (default: texts that come with the program).",
)
@click.option("--keep", is_flag=True, help="Leave the federation running.")
@with_session
def demo(_session: Session, *, nodes: int, source: Path | None, keep: bool) -> None:
    """Run a whole federation on this machine: real processes, real work, about a minute."""
    sys.exit(run_demo(nodes=nodes, given=source, keep=keep))
