"""All accounts: each by its id, and the richest first."""

from __future__ import annotations

from consensus.ledger.event_log import Logged
from consensus.ledger.events import AccountChanged
from consensus.ledger.machine import Ledger
from consensus.ledger.records import Account
from consensus.projections.rows import Page, Projection, RowReader, Rows, down, page_of, read, write

_ACCOUNT, _RICHEST = b"a", b"b"


def _begin(rows: Rows, ledger: Ledger) -> None:
    for owner, now in ledger.accounts():
        _set(rows, owner, now)


def _apply(rows: Rows, logged: Logged) -> None:
    if isinstance(logged.event, AccountChanged):
        _set(rows, logged.event.account, logged.event.now)


def _set(rows: Rows, owner: bytes, now: Account) -> None:
    before = read(rows, _ACCOUNT + owner, Account)
    if before is not None and before.balance != now.balance:
        rows.put(_RICHEST + down(before.balance) + owner, None)
    if before is None or before.balance != now.balance:
        rows.put(_RICHEST + down(now.balance) + owner, b"")
    write(rows, _ACCOUNT + owner, now)


def _owner(event: AccountChanged) -> bytes:
    return event.account


ACCOUNTS = Projection("accounts", 1, frozenset({AccountChanged}), _begin, _apply, subject=_owner)


def account(reader: RowReader, owner: bytes) -> Account | None:
    """An account by its id."""
    return read(reader, _ACCOUNT + owner, Account)


def richest(
    reader: RowReader, after: bytes | None, limit: int
) -> tuple[list[tuple[bytes, Account]], bytes | None]:
    """A page of accounts, and where the next one begins."""
    page: Page = page_of(reader, _RICHEST, after, limit)
    found = []
    for key, _ in page.rows:
        owner = key[9:]
        known = account(reader, owner)
        assert known is not None
        found.append((owner, known))
    return found, page.next_key
