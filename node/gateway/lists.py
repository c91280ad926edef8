"""Lists and read models over HTTP: page by page, from the cache where it is fresh."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from consensus.ledger.event_log import Cursor
from consensus.ledger.records import TaskState
from node.chain.read_models import Made, ReadModels
from node.gateway.cache import Cache, Life
from node.gateway.caching import cached_response, name_of
from node.gateway.endpoint import etag_of
from node.gateway.fields import path_id, query_number, resolve
from node.gateway.guard import OwnerCheck
from node.gateway.reads import json_response
from node.views.facade import Facade, Named, Problem
from node.views.headers import HEIGHT

MAX_PAGE = 100
PAGE = 20
MAX_EVENTS = 1_000
_CURSOR = re.compile(r"(?:[0-9a-f]{2}){1,128}")


class Lists:
    """One method for each list. `now_ms` is the clock of the cache."""

    def __init__(
        self,
        facade: Facade,
        models: ReadModels,
        cache: Cache,
        owner: OwnerCheck,
        now_ms: Callable[[], int],
    ) -> None:
        self._facade, self._models, self._cache = facade, models, cache
        self._owner, self._now_ms = owner, now_ms

    async def accounts(self, request: Request) -> Response:
        """The richest accounts first."""
        after, limit = _page(request)
        return await self._kept(request, Life.LIST, lambda: self._models.accounts(after, limit))

    async def transactions(self, request: Request) -> Response:
        """Executed transactions, newest first."""
        after, limit = _page(request)
        return await self._kept(
            request, Life.LIST, lambda: self._models.transactions(None, after, limit)
        )

    async def account_transactions(self, request: Request) -> Response:
        """Those that name an account."""
        owner = path_id(request, self._facade, Named.ACCOUNT)
        after, limit = _page(request)
        return await self._kept(
            request, Life.LIST, lambda: self._models.transactions(owner, after, limit)
        )

    async def active_validators(self, request: Request) -> Response:
        """Who votes, the strongest first."""
        return await self._kept(request, Life.LIST, lambda: self._models.active_validators(500))

    async def top_validators(self, request: Request) -> Response:
        """The strongest few."""
        limit = query_number(request, "limit", 10, MAX_PAGE)
        return await self._kept(request, Life.LIST, lambda: self._models.active_validators(limit))

    async def ledger_tasks(self, request: Request) -> Response:
        """Tasks on the ledger, by one of state, owner and executor."""
        after, limit = _page(request)
        given = [name for name in ("state", "owner", "executor") if name in request.query_params]
        if len(given) > 1:
            raise Problem(
                400, "bad_parameter", f"give one of state, owner and executor, not {len(given)}"
            )
        state = _state(request)
        owner, executor = self._node(request, "owner"), self._node(request, "executor")
        return await self._kept(
            request, Life.LIST, lambda: self._models.tasks(state, owner, executor, after, limit)
        )

    def _node(self, request: Request, name: str) -> bytes | None:
        text = request.query_params.get(name)
        return None if text is None else resolve(self._facade, text, Named.ACCOUNT, Named.NODE)

    async def leaderboard(self, request: Request) -> Response:
        """Who earned the most by tasks."""
        after, limit = _page(request)
        return await self._kept(request, Life.LIST, lambda: self._models.leaderboard(after, limit))

    async def reputations(self, request: Request) -> Response:
        """Whose word is good."""
        after, limit = _page(request)
        return await self._kept(request, Life.LIST, lambda: self._models.reputations(after, limit))

    async def reputation(self, request: Request) -> Response:
        """One node's."""
        node = path_id(request, self._facade, Named.NODE)
        return await self._kept(request, Life.ITEM, lambda: self._models.reputation(node))

    async def fairness(self, request: Request) -> Response:
        """How evenly rewards fall."""
        return await self._kept(request, Life.LIST, self._models.fairness)

    async def events(self, request: Request) -> Response:
        """The event log, page by page."""
        limit = query_number(request, "limit", 100, MAX_EVENTS)
        after = read_cursor(request.query_params.get("after", "0"))
        height = self._models.projector.log_height
        view = self._models.events(after, height, limit)
        return json_response(view, headers={HEIGHT: str(height)})

    async def projections(self, _request: Request) -> Response:
        """The read models themselves."""
        return json_response(self._models.projections())

    async def rebuild(self, request: Request) -> Response:
        """Make a read model anew."""
        self._owner.require(request)
        name, projector = request.path_params["name"], self._models.projector
        if name not in projector.names:
            raise Problem(
                404,
                "unknown_projection",
                f"there is no projection {name[:64]!r}; there are {', '.join(projector.names)}",
            )
        projector.rebuild(name)
        return json_response(self._models.projections(), 202)

    async def _kept(self, request: Request, life: Life, make: Callable[[], Made[Any]]) -> Response:
        """From the cache, or made now and kept."""
        await self._models.projector.asked()
        kept = self._cache.get(self._now_ms(), name_of(request))
        if kept is not None:
            ((projection, _), *_) = kept.subjects
            # Nothing that it was made of has changed since.
            height = max(kept.height, self._models.projector.height_of(projection))
            return cached_response(kept.body, kept.etag, hit=True, height=height)
        made = make()
        body = msgspec.json.encode(made.view)
        kept = self._cache.put(
            self._now_ms(),
            name_of(request),
            body,
            etag_of(body),
            life=life,
            subjects=[(made.projection, one) for one in made.subjects],
            height=made.height,
        )
        return cached_response(kept.body, kept.etag, hit=False, height=made.height)


def read_cursor(text: str) -> Cursor:
    """A place in the event log. Raises `Problem`."""
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise Problem(400, "bad_cursor", f"after: {error}") from None


def _page(request: Request) -> tuple[bytes | None, int]:
    """Where the page begins, and how much is wanted."""
    limit = query_number(request, "limit", PAGE, MAX_PAGE)
    text = request.query_params.get("after")
    if text is None:
        return None, limit
    if not _CURSOR.fullmatch(text):
        raise Problem(400, "bad_cursor", "after: must be what a former page gave as `next`")
    return bytes.fromhex(text), limit


def _state(request: Request) -> TaskState | None:
    text = request.query_params.get("state")
    if text is None:
        return None
    try:
        return TaskState(text)
    except ValueError:
        known = ", ".join(one.value for one in TaskState)
        raise Problem(400, "bad_parameter", f"state: must be one of {known}") from None
