"""`bizra-node demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from node.demo import QUESTION
from node.demo import main as run_demo
from node.errors import NodeError


@click.command()
@click.option("--nodes", type=click.IntRange(1, 10), default=4, show_default=True)
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE|DIR",
    help="What the nodes work on (default: texts that come with the program).",
)
@click.option("--question", default=QUESTION, show_default=True, help="What they are asked.")
@click.option("--keep", is_flag=True, help="Leave the federation running.")
def demo(*, nodes: int, source: Path | None, question: str, keep: bool) -> None:
    """Run a whole federation on this machine: real processes, real work, about a minute."""
    try:
        exit_code = run_demo(nodes=nodes, given=source, question=question, keep=keep)
    except NodeError as error:
        raise click.ClickException(str(error)) from None
    sys.exit(exit_code)
