"""`projections list` and `projections rebuild`: the read models behind lists and rankings."""

from __future__ import annotations

import time

import click

from node.cli.session import Session, with_session
from node.cli.shapes import table
from node.errors import NodeError
from node.views.lists import ProjectionsView

_PAUSE_S = 0.05


@click.group()
def projections() -> None:
    """Look at the read models, or make one anew."""


@projections.command("list")
@with_session
def list_projections(session: Session) -> None:
    """Show up to which block each read model is made."""
    with session.client() as client:
        view = client.projections()
    session.tell(view, _text(view))


@projections.command()
@click.argument("name")
@click.option("--wait", is_flag=True, help="Wait until it is done.")
@click.option(
    "--timeout", type=click.FloatRange(0.1), default=600, show_default=True, help="Seconds to wait."
)
@with_session
def rebuild(session: Session, *, name: str, wait: bool, timeout: float) -> None:
    """Drop the read model NAME and make it anew from the event log; the old one answers until then."""
    with session.client() as client:
        view = client.rebuild_projection(name)
        deadline = time.monotonic() + timeout
        while wait and any(one.rebuilt_to is not None for one in view.projections):
            if time.monotonic() > deadline:
                raise NodeError(
                    f"not done after {timeout:g} s; look again with: bizra-node projections list"
                )
            time.sleep(_PAUSE_S)
            view = client.projections()
    session.tell(view, _text(view))


def _text(view: ProjectionsView) -> str:
    rows = [
        (
            one.name,
            str(one.version),
            str(one.height),
            "-" if one.rebuilt_to is None else f"made anew, at {one.rebuilt_to}",
        )
        for one in view.projections
    ]
    return table(("PROJECTION", "VERSION", "HEIGHT", ""), rows, empty="")
