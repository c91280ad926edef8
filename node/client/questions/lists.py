"""Lists and read models, page by page."""

from __future__ import annotations

from node.client.conversations import Conversation, get, post
from node.client.paths import page, path_part, query
from node.views.lists import (
    AccountsView,
    ActiveValidatorView,
    EventsView,
    FairnessView,
    LeaderboardView,
    ProjectionsView,
    ReputationsView,
    ReputationView,
    TaskRowsView,
    TransactionsView,
)

PAGE = 20


def accounts(limit: int = PAGE, after: str | None = None) -> Conversation[AccountsView]:
    """A page of accounts, the richest first."""
    return get(f"/api/v2/accounts{page(limit, after)}", AccountsView)


def transactions(
    account: str | None = None, limit: int = PAGE, after: str | None = None
) -> Conversation[TransactionsView]:
    """A page of executed transactions, newest first: all, or those that name an account."""
    place = "" if account is None else f"accounts/{path_part(account)}/"
    return get(f"/api/v2/{place}transactions{page(limit, after)}", TransactionsView)


def active_validators(limit: int | None = None) -> Conversation[list[ActiveValidatorView]]:
    """Who votes, the strongest first: all, or a few."""
    path = "active" if limit is None else f"top?limit={limit}"
    return get(f"/api/v2/validators/{path}", list[ActiveValidatorView])


def ledger_tasks(
    *,
    state: str | None = None,
    owner: str | None = None,
    executor: str | None = None,
    limit: int = PAGE,
    after: str | None = None,
) -> Conversation[TaskRowsView]:
    """A page of tasks as the ledger knows them, newest first, by one of state, owner and executor."""
    given = {"state": state, "owner": owner, "executor": executor}
    return get(f"/api/v2/ledger/tasks{page(limit, after)}{query(given)}", TaskRowsView)


def leaderboard(limit: int = PAGE, after: str | None = None) -> Conversation[LeaderboardView]:
    """Who earned the most by tasks."""
    return get(f"/api/v2/leaderboard{page(limit, after)}", LeaderboardView)


def reputations(limit: int = PAGE, after: str | None = None) -> Conversation[ReputationsView]:
    """Who ends reliably what it claims, the best first."""
    return get(f"/api/v2/reputation{page(limit, after)}", ReputationsView)


def reputation(node: str) -> Conversation[ReputationView]:
    """One node's."""
    return get(f"/api/v2/reputation/{path_part(node)}", ReputationView)


def fairness() -> Conversation[FairnessView]:
    """How evenly rewards fall."""
    return get("/api/v2/fairness", FairnessView)


def event_log(after: str = "0", limit: int = 100) -> Conversation[EventsView]:
    """A page of the event log, oldest first."""
    return get(f"/api/v2/events/log?after={after}&limit={limit}", EventsView)


def projections() -> Conversation[ProjectionsView]:
    """The read models, and how far each is made."""
    return get("/api/v2/projections", ProjectionsView)


def rebuild_projection(name: str) -> Conversation[ProjectionsView]:
    """Make a read model anew, beside everything else."""
    return post(f"/api/v2/projections/{path_part(name)}/rebuild", None, ProjectionsView)
