"""`snapshot`: the ledger's state with its proof, for newcomers and for safekeeping."""

from __future__ import annotations

from pathlib import Path

import click

from node.cli.session import Session, with_session
from node.cli.shapes import short, table
from node.cli.transfer import pieces_of, write_whole


@click.group()
def snapshot() -> None:
    """Make and take snapshots of the ledger.

    A node that is far behind takes one from other members by itself.
    """


@snapshot.command()
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write it to a file, too.")
@with_session
def create(session: Session, *, output: Path | None) -> None:
    """Make a snapshot of the newest block, which other members can take from here."""
    with session.client() as client:
        view = client.make_snapshot()
        if output is not None:
            write_whole(output, client.read_snapshot(view.height))
    where = f", written to {output}" if output else ""
    session.tell(view, f"Snapshot of height {view.height}{where}")


@snapshot.command("list")
@with_session
def list_snapshots(session: Session) -> None:
    """Show the snapshots that this node can give to others."""
    with session.client() as client:
        view = client.snapshots()
    rows = [(str(one.height), short(one.content_id)) for one in view.snapshots]
    session.tell(view, table(("HEIGHT", "CONTENT"), rows, empty="There is none yet."))


@snapshot.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@with_session
def restore(session: Session, *, file: Path | None) -> None:
    """Begin from a snapshot: from FILE while the daemon is stopped, or from members while it runs.

    Either is checked with the genesis in this home. Blocks below it are not kept here.
    """
    if file is None:
        with session.client() as client:
            height = client.take_snapshot()
        session.tell({"height": height}, f"Taken; the node goes on from height {height}")
        return
    from node.chain.snapshots import restore_file  # noqa: PLC0415 - commands that ask the daemon start faster

    with session.home.lock():
        height = restore_file(session.home, pieces_of(file))
    session.tell({"height": height}, f"This node begins at height {height} when it is started")
