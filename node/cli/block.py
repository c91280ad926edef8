"""`block show` and `block list`."""

from __future__ import annotations

import click

from node.cli.session import Session, with_session
from node.cli.shapes import moment, pairs, plural, short, table
from node.views.records import BlocksView, BlockView


@click.group()
def block() -> None:
    """Look at blocks."""


@block.command()
@click.argument("name", metavar="HEIGHT|HASH")
@with_session
def show(session: Session, *, name: str) -> None:
    """Show a block with its transactions and who signed it."""
    with session.client() as client:
        view = client.block(name)
    session.tell(view, _text(view))


@block.command("list")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--before", type=click.IntRange(1), metavar="HEIGHT", help="Only below this height.")
@with_session
def list_blocks(session: Session, *, limit: int, before: int | None) -> None:
    """Show the newest blocks."""
    with session.client() as client:
        view = client.blocks(limit, before)
    session.tell(view, _list_text(view))


def _text(view: BlockView) -> str:
    signers = [vote["voter"] for vote in view.certificate["endorsements"]]
    facts = pairs(
        [
            ("height", str(view.height)),
            ("hash", view.hash),
            ("previous", view.prev_hash),
            ("time", moment(view.timestamp_ms)),
            ("proposer", view.proposer),
            ("epoch, view", f"{view.epoch}, {view.view}"),
            ("state root", view.state_root),
            ("signed by", f"{plural(len(signers), 'voting key')}: {' '.join(map(short, signers))}"),
        ]
    )
    return "\n".join([facts, "", plural(len(view.transactions), "transaction"), *view.transactions])


def _list_text(view: BlocksView) -> str:
    text = table(
        ("HEIGHT", "HASH", "TIME", "PROPOSER", "TRANSACTIONS"),
        [
            (
                str(one.height),
                short(one.hash),
                moment(one.timestamp_ms),
                short(one.proposer),
                str(len(one.transactions)),
            )
            for one in view.blocks
        ],
        empty="There is no block yet. A transaction makes one: bizra-node tx transfer TO AMOUNT",
    )
    if view.next_before is not None:
        text += f"\n\nOlder ones: bizra-node block list --before {view.next_before}"
    return text
