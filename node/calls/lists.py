"""Lists and read models, page by page, and what happens as it happens."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import msgspec

from node.answers import decoded, unreachable
from node.calls.base import Calls
from node.paths import page, path_part, query
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
from node.views.records import JsonObject

PAGE = 20
_SILENCE_S = 60.0
"""The node says every 15 s that it is still there."""


class ListCalls(Calls):
    """Answers made of read models."""

    def accounts(self, limit: int = PAGE, after: str | None = None) -> AccountsView:
        """A page of accounts, the richest first."""
        return self._get(f"/api/v2/accounts{page(limit, after)}", AccountsView)

    def transactions(
        self, account: str | None = None, limit: int = PAGE, after: str | None = None
    ) -> TransactionsView:
        """A page of executed transactions, newest first: all, or those that name an account."""
        place = "" if account is None else f"accounts/{path_part(account)}/"
        return self._get(f"/api/v2/{place}transactions{page(limit, after)}", TransactionsView)

    def active_validators(self, limit: int | None = None) -> list[ActiveValidatorView]:
        """Who votes, the strongest first: all, or a few."""
        path = "active" if limit is None else f"top?limit={limit}"
        return self._get(f"/api/v2/validators/{path}", list[ActiveValidatorView])

    def ledger_tasks(
        self,
        *,
        state: str | None = None,
        owner: str | None = None,
        executor: str | None = None,
        limit: int = PAGE,
        after: str | None = None,
    ) -> TaskRowsView:
        """A page of tasks as the ledger knows them, by one of state, owner and executor."""
        given = {"state": state, "owner": owner, "executor": executor}
        path = f"/api/v2/ledger/tasks{page(limit, after)}{query(given)}"
        return self._get(path, TaskRowsView)

    def leaderboard(self, limit: int = PAGE, after: str | None = None) -> LeaderboardView:
        """Who earned the most by tasks."""
        return self._get(f"/api/v2/leaderboard{page(limit, after)}", LeaderboardView)

    def reputations(self, limit: int = PAGE, after: str | None = None) -> ReputationsView:
        """Who ends reliably what it claims, the best first."""
        return self._get(f"/api/v2/reputation{page(limit, after)}", ReputationsView)

    def reputation(self, node: str) -> ReputationView:
        """One node's."""
        return self._get(f"/api/v2/reputation/{path_part(node)}", ReputationView)

    def fairness(self) -> FairnessView:
        """How evenly rewards fall."""
        return self._get("/api/v2/fairness", FairnessView)

    def projections(self) -> ProjectionsView:
        """The read models, and how far each is made."""
        return self._get("/api/v2/projections", ProjectionsView)

    def rebuild_projection(self, name: str) -> ProjectionsView:
        """Make a read model anew, beside everything else."""
        path = f"/api/v2/projections/{path_part(name)}/rebuild"
        return decoded(self._send("POST", path, owner=True), ProjectionsView)

    def event_log(self, after: str = "0", limit: int = 100) -> EventsView:
        """A page of the event log, oldest first."""
        return self._get(f"/api/v2/events/log?after={after}&limit={limit}", EventsView)

    def events(
        self,
        *,
        transaction: str | None = None,
        account: str | None = None,
        task: str | None = None,
        after: str | None = None,
    ) -> Iterator[JsonObject]:
        """What happens, as it happens, until the node ends or cuts this caller off; its head is there at the first."""
        given = {"transaction": transaction, "account": account, "task": task, "after": after}
        path = f"/api/v2/events?{query(given).removeprefix('&')}"
        try:
            with self._http.stream("GET", path, timeout=_SILENCE_S) as answer:
                if not answer.is_success:
                    answer.read()
                    decoded(answer, JsonObject)
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield msgspec.json.decode(line.removeprefix("data: "), type=JsonObject)
        except httpx2.TransportError as error:
            raise unreachable(self.url, error, _SILENCE_S) from None
