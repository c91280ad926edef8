"""Transactions, newest first: all of them, and those that name an account."""

from __future__ import annotations

from consensus.ledger.event_log import Logged, TransactionExecuted
from consensus.ledger.machine import Ledger
from consensus.ledger.outcomes import Code
from consensus.projections.rows import Projection, RowReader, Rows, down, page_of
from gossip.codec import Bytes32, Natural, Wire, decode, encode

_ALL, _BY_PARTY = b"t", b"p"


class TransactionRow(Wire, frozen=True):
    """Where a transaction stands and whether it took effect."""

    transaction: Bytes32
    sender: Bytes32
    height: Natural
    time_ms: Natural
    code: Code


def _begin(_rows: Rows, _ledger: Ledger) -> None:
    pass


def _apply(rows: Rows, logged: Logged) -> None:
    event = logged.event
    if isinstance(event, TransactionExecuted):
        row = encode(
            TransactionRow(
                event.transaction,
                event.parties[0],
                logged.place.height,
                logged.time_ms,
                event.code,
            )
        )
        place = down(logged.place.height) + down(logged.place.index)
        rows.put(_ALL + place, row)
        for party in event.parties:
            rows.put(_BY_PARTY + party + place, row)


TRANSACTIONS = Projection(
    "transactions", 1, frozenset({TransactionExecuted}), _begin, _apply, is_of_state=False
)


def newest(
    reader: RowReader, party: bytes | None, after: bytes | None, limit: int
) -> tuple[list[TransactionRow], bytes | None]:
    """A page of all transactions, or of those that name an account; and where the next one begins."""
    prefix = _ALL if party is None else _BY_PARTY + party
    page = page_of(reader, prefix, after, limit)
    return [decode(value, TransactionRow) for _, value in page.rows], page.next_key
