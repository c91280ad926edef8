"""`recover`: go on after more validators were lost for good than a quorum can spare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.session import Session, with_session
from node.cli.shapes import pairs, plural, short

if TYPE_CHECKING:
    from consensus.recovery import Recovery


@click.group()
def recover() -> None:
    """Go on without validators that are lost for good, when those left are no quorum.

    A fork of trust: the survivors' operators agree by other means, each signs the same FILE, and everybody who
    goes on applies it. The daemons must be stopped. docs/OPERATIONS.md says when, and what it costs.
    """


@recover.command()
@click.option("--lost", multiple=True, required=True, metavar="NODE", help="A node that is lost.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False))
@with_session
def propose(session: Session, *, lost: tuple[str, ...], output: Path) -> None:
    """Write a FILE by which the others go on after this node's last block, signed by it."""
    from node.recovery import begin, write  # noqa: PLC0415 - commands that ask the daemon start faster

    recovery = begin(session.home, lost)
    write(output, recovery)
    _tell(session, recovery, f"Written to {output}")


@recover.command()
@click.argument("file", type=click.Path(path_type=Path))
@with_session
def sign(session: Session, *, file: Path) -> None:
    """Sign FILE as a survivor, if this node comes to the same by itself."""
    from node.recovery import agree, read, write  # noqa: PLC0415 - as above

    recovery = agree(session.home, read(file))
    write(file, recovery)
    _tell(session, recovery, f"Signed in {file}")


@recover.command()
@click.argument("file", type=click.Path(path_type=Path))
@with_session
def apply(session: Session, *, file: Path) -> None:
    """Begin the survivors' epoch in this home, once all of them have signed FILE."""
    from node.recovery import go_on, read  # noqa: PLC0415 - as above

    recovery = read(file)
    begun = go_on(session.home, recovery)
    said = "Applied; start the node" if begun else "This home goes on by that file already"
    _tell(session, recovery, said)


def _tell(session: Session, recovery: Recovery, said: str) -> None:
    members = recovery.link.members
    missing = [node.hex() for node in recovery.missing]
    view = {
        "height": recovery.height,
        "epoch": members.epoch,
        "survivors": [node.hex() for node in members.nodes],
        "lost": [node.hex() for node in recovery.lost],
        "unsigned": missing,
        "trust": f"{members.epoch}:{members.hash.hex()}",
    }
    text = pairs(
        [
            ("goes on after", f"height {recovery.height}, as epoch {members.epoch}"),
            (
                "survivors",
                f"{plural(len(members.nodes), 'validator')}, quorum {members.quorum_power}",
            ),
            ("lost", ", ".join(short(node.hex()) for node in recovery.lost)),
            (
                "not signed by",
                ", ".join(short(node) for node in missing) or "nobody: it is complete",
            ),
            ("receipts", f"bizra-node verify --trust {view['trust']}"),
        ]
    )
    session.tell(view, f"{said}\n{text}")
