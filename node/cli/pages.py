"""What commands that show lists share: how many, where to go on, and whether the items are proven."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from consensus.genesis import Genesis, GenesisError
from node.cli.session import Session
from node.errors import NodeError

if TYPE_CHECKING:
    from consensus.verify import Trust
    from node.client import Client
    from node.client.audit.audits import Audit

_Command = TypeVar("_Command", bound=Callable[..., Any])

_EYE_S = 0.1
AUDITED = "The whole answer as the chain has it, which is executed anew (see `audit`): nothing is left out."
_TRUST = "Hold it against a set of validators that you know (`validators list` shows the hash)."
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


def audited(command: _Command) -> _Command:
    """`--audited`."""
    return click.option("--audited", "is_audited", is_flag=True, help=AUDITED)(command)


def trusted(command: _Command) -> _Command:
    """`--trust`."""
    return click.option("--trust", metavar="EPOCH:HASH", help=_TRUST)(command)


def trust_of(text: str) -> Trust:
    """The set of validators that is named so. Raises `click.BadParameter`."""
    epoch, colon, name = text.partition(":")
    if not (colon and epoch.isascii() and epoch.isdigit() and re.fullmatch("[0-9a-f]{64}", name)):
        raise click.BadParameter(
            "expected EPOCH:HASH, such as 3: and 64 hex digits", param_hint="--trust"
        )
    from consensus.verify import Trust  # noqa: PLC0415 - commands that check nothing start faster

    return Trust(int(epoch), bytes.fromhex(name))


@contextmanager
def auditing(
    session: Session,
    client: Client,
    genesis: Genesis | None = None,
    directory: Path | None = None,
    trust: str | None = None,
) -> Iterator[Audit]:
    """An audit of the node, with its progress shown; in the home unless told otherwise."""
    shown = _Meter()
    with client.audit(
        directory or session.home.path / "audit",
        genesis or genesis_of(session),
        None if trust is None else trust_of(trust),
        shown.tell,
    ) as audit:
        try:
            yield audit
        finally:
            shown.end()


class _Meter:
    """How far an audit is, on a terminal alone, and not more often than an eye follows."""

    def __init__(self) -> None:
        self._told_s, self._is_shown = 0.0, False

    def tell(self, height: int, known_height: int) -> None:
        """After each block."""
        now_s = time.monotonic()
        if now_s - self._told_s >= _EYE_S and sys.stderr.isatty():
            self._told_s, self._is_shown = now_s, True
            click.echo(f"\rAudited up to block {height} of {known_height} ", nl=False, err=True)

    def end(self) -> None:
        """Leave a clean line."""
        if self._is_shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def genesis_of(session: Session, path: Path | None = None) -> Genesis:
    """What answers are checked against: the genesis of the home, or of a file. Raises `NodeError`."""
    path = path or session.home.genesis
    try:
        return Genesis.load(path.read_bytes())
    except OSError as error:
        raise NodeError(
            f"{path} cannot be read ({error.strerror}); it is the federation's genesis file"
        ) from None
    except GenesisError as error:
        raise NodeError(f"{path} is no genesis file: {error}") from None


def more(text: str, command: str, following: str | None) -> str:
    """The text with the line that shows the next page, if there is one."""
    return (
        text if following is None else f"{text}\n\nMore: bizra-node {command} --after {following}"
    )
