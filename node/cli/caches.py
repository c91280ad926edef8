"""`caches`: what is kept of answers."""

from __future__ import annotations

import secrets

import click

from node.cli.session import Session, with_session
from node.cli.shapes import table
from node.views.records import CachesView


@click.command()
@click.option("--clear", is_flag=True, help="Forget all of it.")
@click.option("--secret", is_flag=True, help="Make a secret for nodes that shall share answers.")
@with_session
def caches(session: Session, *, clear: bool, secret: bool) -> None:
    """Show how full the caches of answers are, and how often they help."""
    if secret:
        made = secrets.token_hex(32)
        told = f'Put this into config.toml of each node that shall share, and start it again:\nshared_cache = "{made}"'
        session.tell({"shared_cache": made}, told)
        return
    with session.client() as client:
        view = client.clear_caches() if clear else client.caches()
    session.tell(view, _text(view))


def _text(view: CachesView) -> str:
    rows = [
        (
            one.kind,
            one.level,
            str(one.entries),
            f"{one.size_bytes / 1e6:.1f} of {one.max_bytes / 1e6:.0f}",
            "-" if one.hit_rate is None else f"{100 * one.hit_rate:.0f} %",
            f"{one.hits} of {one.hits + one.misses}",
        )
        for one in view.caches
    ]
    return table(("KIND", "LEVEL", "ENTRIES", "MB", "HIT RATE", "HITS"), rows, empty="")
