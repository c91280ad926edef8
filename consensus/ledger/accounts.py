"""Balances: the only place where money moves."""

from __future__ import annotations

from consensus.ledger.outcomes import Code, Refusal
from consensus.ledger.records import Account
from consensus.ledger.state import Context, Draft
from consensus.ledger.tables import ACCOUNTS
from consensus.operations.transactions import Transfer

NO_ACCOUNT = Account(0, 0)


def debit(draft: Draft, owner: bytes, amount: int) -> Refusal | None:
    """Take `amount` from an account, if it is there."""
    account = draft.get(ACCOUNTS, owner) or NO_ACCOUNT
    left = account.balance - amount
    if left < 0:
        return Refusal(Code.OVERDRAFT, (account.balance, amount))
    draft.put(ACCOUNTS, owner, Account(left, account.nonce))
    return None


def credit(draft: Draft, owner: bytes, amount: int) -> None:
    """Give `amount` to an account, which begins to exist with this; also with nothing."""
    account = draft.get(ACCOUNTS, owner) or NO_ACCOUNT
    draft.put(ACCOUNTS, owner, Account(account.balance + amount, account.nonce))


def transfer(draft: Draft, context: Context, operation: Transfer) -> Refusal | None:
    """Move money from the sender to somebody, who may be the sender."""
    refusal = debit(draft, context.sender, operation.amount)
    if refusal is None:
        credit(draft, operation.to, operation.amount)
    return refusal


def grant(draft: Draft, context: Context, owner: bytes, amount: int) -> None:
    """Pay an admission grant from the treasury; nothing if that can't pay.

    The account begins to exist anyway.
    """
    paid = debit(draft, context.genesis.treasury, amount) is None
    credit(draft, owner, amount if paid else 0)
