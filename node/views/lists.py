"""The shapes of lists and read models; see `records.py` for what holds for all of them.

`next` asks for the page after this one (`?after=`), None at the end.
"""

from __future__ import annotations

import msgspec

from node.views.records import JsonObject, TaskView, View


class AccountRowView(View, frozen=True):
    """An account after the last block; `nonce` is what its next transaction must carry."""

    id: str
    balance: str
    nonce: int


class AccountsView(View, frozen=True):
    """Accounts, the richest first."""

    accounts: tuple[AccountRowView, ...]
    next: str | None


class TransactionRowView(View, frozen=True):
    """An executed transaction; `code` says why it failed, if it did."""

    tx_hash: str = msgspec.field(name="txHash")
    status: str
    sender: str
    height: int
    timestamp_ms: int
    code: str


class TransactionsView(View, frozen=True):
    """Executed transactions, newest first."""

    transactions: tuple[TransactionRowView, ...]
    next: str | None


class ActiveValidatorView(View, frozen=True):
    """Who votes; `rank` begins at 1.

    `stake` is what is bound to it, by itself and (`delegated`) by others; 0 for a seat by grant alone.
    """

    id: str
    name: str
    stake: str
    rank: int
    power: int
    delegated: str
    since_epoch: int


class TaskRowsView(View, frozen=True):
    """Tasks as the ledger knows them, newest first; `height` is of their last change."""

    tasks: tuple[TaskView, ...]
    next: str | None


class LeaderView(View, frozen=True):
    """What a node earned by tasks."""

    id: str
    name: str
    earned: str
    tasks: int


class LeaderboardView(View, frozen=True):
    """Who earned the most."""

    leaders: tuple[LeaderView, ...]
    next: str | None


class ReputationView(View, frozen=True):
    """How a node does at tasks: the ledger's `score` is 0 to 1000, 500 at first, 0 once slashed."""

    id: str
    name: str
    score: int
    settled: int
    failed: int


class ReputationsView(View, frozen=True):
    """The most reliable first."""

    nodes: tuple[ReputationView, ...]
    next: str | None


class FairnessView(View, frozen=True):
    """The Gini coefficient of what the members earned: 0 all the same, near 1 all to one, None before a reward."""

    gini: float | None
    members: int
    total: str


class ProjectionView(View, frozen=True):
    """A read model: up to which block it is made, and how far it is being made anew."""

    name: str
    version: int
    height: int
    rebuilt_to: int | None


class ProjectionsView(View, frozen=True):
    """All read models."""

    projections: tuple[ProjectionView, ...]


class EventView(View, frozen=True):
    """An event of the log. `cursor` is its place; `correlation` the transaction or block that it belongs to."""

    cursor: str
    kind: str
    version: int
    timestamp_ms: int
    correlation: str
    causation: str | None
    data: JsonObject


class EventsView(View, frozen=True):
    """Events of the log, oldest first; `next` is where to go on, the place of the last one."""

    events: tuple[EventView, ...]
    next: str
