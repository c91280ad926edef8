"""The lists made of the event log, that log, and what happens as it happens, as endpoints."""

from __future__ import annotations

from typing import Any

from consensus.ledger.records import TaskState
from node.gateway.endpoint import ID, Endpoint, Param
from node.gateway.events import EventDoor
from node.gateway.lists import MAX_EVENTS, MAX_PAGE, PAGE, Lists
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


def number(name: str, about: str, least: int, most: int, default: int | None) -> Param:
    """A whole number in a query, between two bounds that are allowed too."""
    schema: dict[str, Any] = {"type": "integer", "minimum": least, "maximum": most}
    if default is not None:
        schema["default"] = default
    return Param(name, about, schema)


LIMIT = number("limit", "How many at most.", 1, MAX_PAGE, PAGE)
_CURSOR_SCHEMA = {"type": "string", "pattern": "^([0-9a-f]{2}){1,128}$"}
_AFTER = Param("after", "What the page before gave as `next`.", _CURSOR_SCHEMA)
_EVENT_CURSOR = {"type": "string", "pattern": "^[0-9]{1,9}(\\.[0-9]{1,9})?$"}
_PAGE_PARAMS = (LIMIT, _AFTER)
_CURSORS = ((400, "bad_cursor"),)
_NODE = Param("id", "A node's id, or its first digits.", ID.schema, "29" * 32)


def _listed(path: str, handler: Any, about: str, answer: Any) -> Endpoint:  # noqa: ANN401 - methods and types
    return Endpoint(
        "GET",
        f"/api/v2/{path}",
        handler,
        about,
        answer,
        params=_PAGE_PARAMS,
        problems=_CURSORS,
        cached=True,
    )


def list_endpoints(lists: Lists) -> list[Endpoint]:
    """Read models."""
    return [*_row_endpoints(lists), *_merit_endpoints(lists), *_log_endpoints(lists)]


def _row_endpoints(lists: Lists) -> list[Endpoint]:
    """What the ledger has many of, page by page."""
    return [
        _listed("accounts", lists.accounts, "The richest accounts first.", AccountsView),
        _listed(
            "transactions",
            lists.transactions,
            "Executed transactions, newest first.",
            TransactionsView,
        ),
        Endpoint(
            "GET",
            "/api/v2/accounts/{id}/transactions",
            lists.account_transactions,
            "Executed transactions that name an account, newest first.",
            TransactionsView,
            params=(ID, *_PAGE_PARAMS),
            problems=(*_CURSORS, (404, "unknown_account")),
            cached=True,
        ),
        Endpoint(
            "GET",
            "/api/v2/validators/active",
            lists.active_validators,
            "Who votes, the strongest first.",
            list[ActiveValidatorView],
            cached=True,
        ),
        Endpoint(
            "GET",
            "/api/v2/validators/top",
            lists.top_validators,
            "The strongest few.",
            list[ActiveValidatorView],
            params=(number("limit", "How many at most.", 1, MAX_PAGE, 10),),
            cached=True,
        ),
        Endpoint(
            "GET",
            "/api/v2/ledger/tasks",
            lists.ledger_tasks,
            "Tasks as the ledger knows them, newest first; by state, owner or executor.",
            TaskRowsView,
            params=(
                *_PAGE_PARAMS,
                Param("state", "Only these.", {"enum": [one.value for one in TaskState]}),
                Param("owner", "Only what this account asked for.", ID.schema),
                Param("executor", "Only what this node works or worked on.", ID.schema),
            ),
            problems=(
                *_CURSORS,
                (400, "bad_id"),
                (400, "ambiguous_id"),
                (404, "unknown_account"),
            ),
            cached=True,
        ),
    ]


def _merit_endpoints(lists: Lists) -> list[Endpoint]:
    """Who did how much, and how well."""
    return [
        _listed("leaderboard", lists.leaderboard, "Who earned the most by tasks.", LeaderboardView),
        _listed(
            "reputation",
            lists.reputations,
            "How reliably nodes end what they claim, the best first.",
            ReputationsView,
        ),
        Endpoint(
            "GET",
            "/api/v2/reputation/{id}",
            lists.reputation,
            "How reliably one node ends what it claims.",
            ReputationView,
            params=(_NODE,),
            problems=((404, "unknown_node"),),
            cached=True,
        ),
        Endpoint(
            "GET",
            "/api/v2/fairness",
            lists.fairness,
            "How evenly rewards fall on the members.",
            FairnessView,
            cached=True,
        ),
    ]


def _log_endpoints(lists: Lists) -> list[Endpoint]:
    """What happened, and the read models themselves."""
    return [
        Endpoint(
            "GET",
            "/api/v2/events/log",
            lists.events,
            "The event log, oldest first.",
            EventsView,
            params=(
                number("limit", "How many at most.", 1, MAX_EVENTS, 100),
                Param("after", "A place in the log: HEIGHT.INDEX, or HEIGHT.", _EVENT_CURSOR, "0"),
            ),
            problems=_CURSORS,
        ),
        Endpoint(
            "GET",
            "/api/v2/projections",
            lists.projections,
            "The read models themselves.",
            ProjectionsView,
        ),
        Endpoint(
            "POST",
            "/api/v2/projections/{name}/rebuild",
            lists.rebuild,
            "Make a read model anew; the old one answers until then.",
            ProjectionsView,
            202,
            params=(Param("name", "Its name.", {"type": "string"}, "accounts"),),
            problems=((404, "unknown_projection"),),
            owner=True,
        ),
    ]


def event_endpoints(door: EventDoor) -> list[Endpoint]:
    """What happens, as it happens; the WebSocket at the same path is described by `asyncapi.py`."""
    return [
        Endpoint(
            "GET",
            "/api/v2/events",
            door.stream,
            "What happens, as server-sent events; a WebSocket at the same path says the same.",
            None,
            params=(
                Param("transaction", "Only this one.", ID.schema),
                Param("account", "Only what names this account.", ID.schema),
                Param("task", "Only this one.", ID.schema),
                Param("after", "Go on behind this cursor.", _EVENT_CURSOR),
            ),
            problems=(
                (400, "bad_cursor"),
                (400, "bad_id"),
                (400, "ambiguous_id"),
                (404, "unknown_transaction"),
                (404, "unknown_account"),
                (404, "unknown_task"),
                (410, "cursor_gone"),
                (503, "too_many_subscribers"),
            ),
            media="text/event-stream",
            timeout_s=None,
            upgrades=True,
        ),
    ]
