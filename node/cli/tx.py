"""`tx transfer`, `tx show` and `tx list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from node.cli.pages import audited, auditing, genesis_of, more, paged, proven
from node.cli.session import Session, end_unless, with_session
from node.cli.shapes import pairs, short, table
from node.client import FINAL_TRANSACTION
from node.views.records import JsonObject, TransactionView, View

if TYPE_CHECKING:
    from node.client.proven import ProvenTransaction


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


@tx.command("list")
@click.option("--account", metavar="ID", help="Only those that name this account.")
@paged
@proven
@audited
@with_session
def list_transactions(
    session: Session,
    *,
    account: str | None,
    limit: int,
    after: str | None,
    is_proven: bool,
    is_audited: bool,
) -> None:
    """Show executed transactions, the newest first."""
    with session.client() as client:
        owner = None
        if account is not None and (is_proven or is_audited):
            owner = bytes.fromhex(client.account(account).id)
        if is_proven:
            page = client.proven_transactions(genesis_of(session), owner, limit, after)
            rows = tuple(map(_proven_row, page.items))
            told: View | JsonObject = {"transactions": list(rows), "next": page.next}
            following = page.next
        else:
            if is_audited:
                with auditing(session, client) as audit:
                    view = audit.transactions(owner, limit, after).view
            else:
                view = client.transactions(account, limit, after)
            rows = tuple(msgspec.to_builtins(one) for one in view.transactions)
            told, following = view, view.next
    lines = [
        (short(one["txHash"]), one["status"], short(one["sender"]), str(one["height"]))
        for one in rows
    ]
    heads = ("TRANSACTION", "STATUS", "SENDER", "HEIGHT")
    text = table(heads, lines, empty="No transaction has been executed.")
    again = "tx list" + ("" if account is None else f" --account {account}")
    session.tell(told, more(text, again, following))


def _proven_row(one: ProvenTransaction) -> JsonObject:
    return {
        "txHash": one.transaction.id.hex(),
        "status": "finalized" if one.outcome.ok else "failed",
        "sender": one.transaction.body.sender.hex(),
        "height": one.verdict.height,
        "code": one.outcome.code.value,
    }


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
