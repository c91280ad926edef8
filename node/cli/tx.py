"""`tx transfer` and `tx show`."""

from __future__ import annotations

import click

from node.cli.session import Session, end_unless, with_session
from node.cli.shapes import pairs
from node.client import FINAL_TRANSACTION
from node.gateway.views import TransactionView


@click.group()
def tx() -> None:
    """Pay, and see what became of a transaction."""


@tx.command()
@click.argument("to")
@click.argument("amount", type=click.IntRange(1, 2**63 - 1))
@click.option("--wait", is_flag=True, help="Wait until it is final.")
@click.option(
    "--timeout", type=click.FloatRange(0.1), default=60, show_default=True, help="Seconds to wait."
)
@with_session
def transfer(session: Session, *, to: str, amount: int, wait: bool, timeout: float) -> None:
    """Pay AMOUNT, in the smallest unit, from this node's account to the account TO.

    TO may be the first digits of a known account or node.
    """
    with session.client() as client:
        view = client.transfer(to, amount)
        if wait and view.status not in FINAL_TRANSACTION:
            view = client.await_transaction(view.tx_hash, timeout)
    _tell(session, view)


@tx.command()
@click.argument("name", metavar="HASH")
@with_session
def show(session: Session, *, name: str) -> None:
    """Show where a transaction stands."""
    with session.client() as client:
        view = client.transaction(name)
    session.tell(view, _text(view))


def _tell(session: Session, view: TransactionView) -> None:
    session.tell(view, _text(view))
    end_unless(done=view.status not in FINAL_TRANSACTION or view.status == "finalized")


def _text(view: TransactionView) -> str:
    rows = [("transaction", view.tx_hash), ("status", view.status)]
    if view.reason:
        rows.append(("reason", view.reason))
    if view.height is not None:
        rows += [("height", str(view.height)), ("block", view.block_hash or "-")]
    return pairs(rows)
