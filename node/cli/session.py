"""What every command has: a home, a way to print, and one way to fail."""

from __future__ import annotations

import functools
import itertools
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, NoReturn, ParamSpec

import click
import msgspec

from node.errors import NodeError
from node.storage.home import Home, default_home
from node.views.records import JsonObject, View

if TYPE_CHECKING:
    from node.client import Client

Rest = ParamSpec("Rest")

_HOME_HELP = "The node's folder (default: $BIZRA_HOME, or ~/.bizra)."


@dataclass(frozen=True, slots=True)
class Session:
    """One call of the program."""

    home: Home
    as_json: bool

    def client(self) -> Client:
        """The client of the daemon in this home."""
        from node.client import Client  # noqa: PLC0415 - commands that work offline start faster

        return Client.of_home(self.home)

    def tell(self, value: View | JsonObject, text: str) -> None:
        """Print the one object, or the text for people."""
        if self.as_json:
            click.echo(json.dumps(msgspec.to_builtins(value), ensure_ascii=False))
        else:
            click.echo(text)

    def warn(self, sentence: str) -> None:
        """A remark beside the result."""
        click.echo(f"Note: {sentence}", err=True)

    def fail(self, error: NodeError) -> NoReturn:
        """Tell an error and end."""
        if self.as_json:
            told = {"error": {"code": error.code, "detail": str(error)}}
            click.echo(json.dumps(told, ensure_ascii=False))
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)


def with_session(command: Callable[Concatenate[Session, Rest], None]) -> Callable[..., None]:
    """Give a command `--home` and `--json`, a `Session`, and an end for each `NodeError`."""

    @click.option("--home", type=click.Path(path_type=Path), help=_HOME_HELP)
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
    @functools.wraps(command)
    def called(
        home: Path | None,
        as_json: bool,  # noqa: FBT001 - click passes it by name
        *args: Rest.args,
        **kwargs: Rest.kwargs,
    ) -> None:
        outer_home, outer_json = click.get_current_context().find_root().obj or (None, False)
        path = home or outer_home
        session = Session(
            Home(path.expanduser().absolute() if path else default_home().absolute()),
            as_json or outer_json,
        )
        try:
            command(session, *args, **kwargs)
        except NodeError as error:
            session.fail(error)

    return called


def until_interrupted(pause_s: float) -> Iterator[int]:
    """0, 1, 2 and so on, with a pause before each but the first, until Ctrl-C.

    Ctrl-C is taken note of, not raised: an exception that comes at any place may be lost in some of them.
    """
    interrupted = threading.Event()
    before = signal.signal(signal.SIGINT, lambda _number, _frame: interrupted.set())
    try:
        for turn in itertools.count():
            yield turn
            if interrupted.wait(pause_s):
                return
    finally:
        signal.signal(signal.SIGINT, before)


def end_unless(*, done: bool) -> None:
    """End with exit code 1 if what was told is not a success."""
    if not done:
        sys.exit(1)
