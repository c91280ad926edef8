"""`spread`: work given to many peers in parts. It is begun by `task submit --spread`."""

from __future__ import annotations

import click

from node.cli.results import output_text
from node.cli.session import Session, with_session
from node.cli.shapes import pairs, short, table
from node.views.records import SpreadView


@click.group()
def spread() -> None:
    """Work given to many peers in parts (begun by: task submit --spread)."""


@spread.command("list")
@with_session
def list_spreads(session: Session) -> None:
    """Show all of it, the newest first."""
    with session.client() as client:
        view = client.spreads()
    rows = [(short(one.id), one.kind, one.status, _done(one)) for one in view.spreads]
    head = ("SPREAD", "KIND", "STATUS", "PARTS DONE")
    empty = "None yet. Begin one: bizra-node task submit embed --input DIR --spread --wait"
    session.tell(view, table(head, rows, empty=empty))


@spread.command()
@click.argument("name", metavar="ID")
@with_session
def show(session: Session, *, name: str) -> None:
    """Show one, with its parts and its result."""
    with session.client() as client:
        view = client.spread(name)
    session.tell(view, spread_text(view))


@spread.command()
@click.argument("name", metavar="ID")
@with_session
def cancel(session: Session, *, name: str) -> None:
    """Give one up; parts that nobody has begun are taken back."""
    with session.client() as client:
        view = client.drop_spread(name)
    session.tell(view, spread_text(view))


def spread_text(view: SpreadView) -> str:
    """One spread for people."""
    rows = [("spread", view.id), ("kind", view.kind), ("status", view.status)]
    if view.reason:
        rows.append(("reason", view.reason))
    rows.append(("parts done", _done(view)))
    lost = [line for part in view.parts for line in part.lost]
    rows += [("lost", line) for line in lost[:8]]
    text = pairs(rows)
    return text if view.output is None else f"{text}\n\n{output_text(view.output)}"


def _done(view: SpreadView) -> str:
    done = sum(part.status == "done" for part in view.parts)
    nodes = len({part.executor for part in view.parts if part.executor})
    return f"{done} of {len(view.parts)} at {nodes} node{'s' if nodes != 1 else ''}"
