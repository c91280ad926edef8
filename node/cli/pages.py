"""What commands that show lists share: how many, where to go on, and whether the items are proven."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from consensus.genesis import Genesis, GenesisError
from node.cli.session import Session
from node.errors import NodeError

_Command = TypeVar("_Command", bound=Callable[..., Any])

PROVEN = "Believe the node nothing: check each item against the genesis in the home."


def paged(command: _Command) -> _Command:
    """`--limit` and `--after`."""
    limit = click.option(
        "--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="How many."
    )
    after = click.option("--after", metavar="NEXT", help="Go on where the page before ended.")
    return limit(after(command))


def proven(command: _Command) -> _Command:
    """`--proven`."""
    return click.option("--proven", "is_proven", is_flag=True, help=PROVEN)(command)


def genesis_of(session: Session) -> Genesis:
    """What `--proven` checks against. Raises `NodeError`."""
    path = session.home.genesis
    try:
        return Genesis.load(path.read_bytes())
    except OSError as error:
        raise NodeError(f"{path} cannot be read ({error.strerror})") from None
    except GenesisError as error:
        raise NodeError(f"{path} is no genesis file: {error}") from None


def more(text: str, command: str, following: str | None) -> str:
    """The text with the line that shows the next page, if there is one."""
    return (
        text if following is None else f"{text}\n\nMore: bizra-node {command} --after {following}"
    )
