"""Money is neither made nor lost: what a block moves in and out of accounts, escrow and stakes adds up to nothing.

Checked before any block becomes the state, on what it changes alone. With the whole supply in accounts at the genesis
it follows that the sum stays the supply, which `Ledger.check_invariants` adds up where there is time to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus.ledger.records import Account, StakeRecord, Task
from consensus.ledger.state import State
from consensus.ledger.tables import ACCOUNTS


def money_made(state: State, changes: Mapping[bytes, Any]) -> int:
    """How much more there would be with these changes; less than nothing if some would be lost."""
    made, before, accounts = 0, state.get, state.keyed(ACCOUNTS)
    for key, value in changes.items():
        kind = type(value)
        if kind is Account:
            assert value.balance >= 0, "an account is overdrawn"
            former = accounts.get(key)
            made += value.balance if former is None else value.balance - former.balance
        elif kind is Task or kind is StakeRecord:
            made += _held(value) - _held(before(key))
        elif value is None:
            made -= _held(before(key))
    return made


def _held(value: object) -> int:
    """The money in a record."""
    match value:
        case Account():
            return value.balance
        case Task():
            return value.reward if value.is_open else 0
        case StakeRecord():
            return value.total
        case _:
            return 0
