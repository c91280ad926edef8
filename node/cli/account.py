"""`account list` and `account show`."""

from __future__ import annotations

import click

from node.cli.pages import audited, auditing, genesis_of, more, paged, proven
from node.cli.session import Session, with_session
from node.cli.shapes import pairs, table
from node.errors import NodeError
from node.views.lists import AccountRowView, AccountsView
from node.views.records import AccountView


@click.group()
def account() -> None:
    """What accounts hold."""


@account.command()
@click.argument("name", metavar="ID")
@proven
@with_session
def show(session: Session, *, name: str, is_proven: bool) -> None:
    """Show a balance and the next nonce; ID may be cut to its first digits."""
    with session.client() as client:
        view = client.account(name)
        if not is_proven:
            session.tell(view, pairs(_rows(view)))
            return
        found = client.proven_account(bytes.fromhex(view.id), genesis_of(session))
    if found.account is None:
        raise NodeError(f"the node shows the account {view.id}, and the ledger has none")
    held = AccountView(id=view.id, balance=str(found.account.balance), nonce=found.account.nonce)
    session.tell(held, pairs([*_rows(held), ("proven", f"after block {found.verdict.height}")]))


@account.command("list")
@paged
@proven
@audited
@with_session
def list_accounts(
    session: Session, *, limit: int, after: str | None, is_proven: bool, is_audited: bool
) -> None:
    """Show the richest accounts first."""
    with session.client() as client:
        if is_proven:
            page = client.proven_accounts(genesis_of(session), limit, after)
            rows = tuple(
                AccountRowView(id=name.hex(), balance=str(one.balance), nonce=one.nonce)
                for name, one in page.items
            )
            view = AccountsView(accounts=rows, next=page.next)
        elif is_audited:
            with auditing(session, client) as audit:
                view = audit.accounts(limit, after).view
        else:
            view = client.accounts(limit, after)
    lines = [(one.id, one.balance, str(one.nonce)) for one in view.accounts]
    text = table(("ACCOUNT", "BALANCE", "NONCE"), lines, empty="There is no account.")
    session.tell(view, more(text, "account list", view.next))


def _rows(view: AccountView) -> list[tuple[str, str]]:
    return [("account", view.id), ("balance", view.balance), ("nonce", str(view.nonce))]
