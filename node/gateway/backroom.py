"""The queue of requests and the trust book over HTTP: all of it the owner's, but for one's own place in the queue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gossip.codec import Digest
from gossip.identity import NodeId
from inference.audit import Judgement
from inference.chat import Call
from inference.trust import Record
from inference.waiting import ENDED, Queued
from node.foreman import ForemanService
from node.gateway.facade import Facade, Named, Problem
from node.gateway.fields import MAX_BODY_BYTES, Fields, path_id, read_body
from node.gateway.guard import OwnerCheck
from node.gateway.reads import json_response
from node.gateway.views import QueuedView, QueueView, TrustBookView, TrustView

_ID_DIGITS = 64

Check = Callable[[NodeId, str], Awaitable[Judgement]]


class Queueing(Protocol):
    """What the door for models needs of the queue."""

    async def enqueue(self, call: Call, *, priority: int, deadline_s: int) -> Queued: ...

    def position(self, entry: Queued) -> int | None: ...


class Backroom:
    """One method for each question and deed. `check` asks a peer a canary."""

    def __init__(
        self, facade: Facade, foreman: ForemanService, owner: OwnerCheck, check: Check
    ) -> None:
        self._facade, self._foreman, self._owner, self._check = facade, foreman, owner, check

    def routes(self) -> list[Route]:
        """What is served under /api/v2/queue and /api/v2/trust."""
        return [
            Route("/api/v2/queue", self.queue),
            Route("/api/v2/queue/{id}", self.entry),
            Route("/api/v2/queue/{id}", self.withdraw, methods=["DELETE"]),
            Route("/api/v2/trust", self.trust),
            Route("/api/v2/trust/{id}", self.forgive, methods=["DELETE"]),
            Route("/api/v2/trust/{id}/check", self.check, methods=["POST"]),
        ]

    async def queue(self, request: Request) -> Response:
        """What is under way, waits, and has ended."""
        self._owner.require(request)
        rows = tuple(self._view(one, with_answer=False) for one in self._foreman.core.room.all())
        return json_response(QueueView(requests=rows))

    async def entry(self, request: Request) -> Response:
        """One request, with its answer. Whoever knows the whole id may ask; a prefix is for the owner."""
        if len(request.path_params["id"]) != _ID_DIGITS:
            self._owner.require(request)
        return json_response(self._view(self._found(request), with_answer=True))

    async def withdraw(self, request: Request) -> Response:
        """Take a request out of the queue."""
        if len(request.path_params["id"]) != _ID_DIGITS:
            self._owner.require(request)
        found = self._found(request)
        if found.state in ENDED:
            raise Problem(409, "too_late", f"the request is {found.state.value} already")
        await self._foreman.withdraw(Digest(found.id))
        return json_response(self._view(self._found(request), with_answer=False), 202)

    def _found(self, request: Request) -> Queued:
        text = request.path_params["id"].lower()
        matching = [one for one in self._foreman.core.room.all() if one.id.hex().startswith(text)]
        if len(matching) != 1 or not text:
            many = "more than one request" if matching else "no request"
            raise Problem(404, "unknown_request", f"{many} in the queue has the id {text[:64]!r}")
        return matching[0]

    def _view(self, one: Queued, *, with_answer: bool) -> QueuedView:
        name = Digest(one.id)
        answer = self._foreman.core.room.answer(name) if with_answer else None
        return QueuedView(
            id=one.id.hex(),
            method=one.method,
            model=one.model,
            status=one.state.value,
            position=self._foreman.core.room.position(name),
            priority=one.priority,
            since_ms=one.since_ms,
            deadline_ms=one.deadline_ms,
            tries=one.tries,
            server=one.server or None,
            reason=one.why or None,
            answer=None if answer is None else msgspec.json.decode(answer),
        )

    async def trust(self, request: Request) -> Response:
        """What was found out about peers' answers."""
        self._owner.require(request)
        rows = tuple(map(_trust_view, self._foreman.core.trust.all()))
        return json_response(TrustBookView(peers=rows))

    async def forgive(self, request: Request) -> Response:
        """Begin anew with a peer."""
        self._owner.require(request)
        peer = NodeId(path_id(request, self._facade, Named.NODE))
        await self._foreman.forgive(peer)
        return json_response(_trust_view(self._foreman.core.trust.of(peer)))

    async def check(self, request: Request) -> Response:
        """Ask a peer something of which this node can check the answer."""
        self._owner.require(request)
        peer = NodeId(path_id(request, self._facade, Named.NODE))
        fields = Fields(await read_body(request, MAX_BODY_BYTES), self._facade)
        model = fields.text("model")
        fields.done()
        judgement = await self._check(peer, model)
        return json_response(
            {
                "finding": judgement.finding.value,
                "reason": judgement.reason,
                "tokens": judgement.tokens,
            }
        )


def _trust_view(one: Record) -> TrustView:
    return TrustView(
        node_id=one.peer.hex(),
        trust=one.trust,
        matches=one.matches,
        mismatches=one.mismatches,
        inconclusive=one.inconclusive,
        asked=one.distrust is None,
        reason=one.reason or None,
    )
