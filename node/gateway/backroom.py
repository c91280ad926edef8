"""The queue, the trust book and work over many peers, over HTTP: the owner's, but for one's own place in the queue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gossip.codec import Digest
from gossip.identity import NodeId
from inference.audit import Judgement
from inference.chat import Call, CallKind
from inference.kinds import BadInput, UnknownKind, parse_input
from inference.spread import Part, Spread, SpreadState
from inference.trust import Record
from inference.waiting import ENDED, Queued, QueueState
from node.gateway.endpoint import ID, Endpoint
from node.gateway.fields import (
    MAX_BODY_BYTES,
    MAX_TASK_BODY_BYTES,
    Fields,
    path_id,
    pick,
    read_body,
)
from node.gateway.guard import OwnerCheck
from node.gateway.reads import json_response
from node.gateway.requests import CheckRequest, DecisionRequest, SpreadRequest
from node.views.facade import MAX_DEADLINE_S, MIN_DEADLINE_S, Facade, Named, Problem
from node.views.records import (
    PartView,
    QueuedView,
    QueueView,
    SpreadsView,
    SpreadView,
    TrustBookView,
    TrustView,
    VerdictView,
)
from node.work.foreman import ForemanService
from node.work.outputs import output_json
from node.work.spreads import SpreadRefusedError, SpreadService

_ID_DIGITS = 64

Check = Callable[[NodeId, str], Awaitable[Judgement]]


class Queueing(Protocol):
    """What the door for models needs of the queue."""

    async def enqueue(self, call: Call, *, priority: int, deadline_s: int) -> Queued: ...

    def position(self, entry: Queued) -> int | None: ...


@dataclass(frozen=True, slots=True)
class BackroomParts:
    """What stands behind these doors. `check` asks a peer a canary."""

    foreman: ForemanService
    spreads: SpreadService
    check: Check


class Backroom:
    """One method for each question and deed."""

    def __init__(self, facade: Facade, parts: BackroomParts, owner: OwnerCheck) -> None:
        self._facade, self._foreman, self._owner = facade, parts.foreman, owner
        self._spreads, self._check = parts.spreads, parts.check

    def endpoints(self) -> list[Endpoint]:
        """What is served under /api/v2/queue, /api/v2/spreads and /api/v2/trust."""
        return [*self._of_the_queue(), *self._of_spreads(), *self._of_trust()]

    def _of_the_queue(self) -> list[Endpoint]:
        path = "/api/v2/queue"
        problems = (
            (404, "unknown_request"),
            (401, "token_missing"),
            (401, "token_wrong"),
            (403, "token_scope"),
        )
        return [
            Endpoint("GET", path, self.queue, "What waits for a model.", QueueView, owner=True),
            Endpoint(
                "GET",
                f"{path}/{{id}}",
                self.entry,
                "One request, with its answer; a cut id needs the owner's token.",
                QueuedView,
                params=(ID,),
                problems=problems,
            ),
            Endpoint(
                "DELETE",
                f"{path}/{{id}}",
                self.withdraw,
                "Take a request out of the queue; a cut id needs the owner's token.",
                QueuedView,
                202,
                params=(ID,),
                problems=(*problems, (409, "too_late")),
            ),
            Endpoint(
                "POST",
                f"{path}/{{id}}/decision",
                self.decide,
                "What becomes of a request that all servers failed at: retry, answer or abandon.",
                QueuedView,
                202,
                (DecisionRequest,),
                params=(ID,),
                problems=((404, "unknown_request"), (409, "not_escalated"), (422, "bad_decision")),
                owner=True,
                example={"decision": "retry"},
            ),
        ]

    def _of_spreads(self) -> list[Endpoint]:
        path, unknown = "/api/v2/spreads", (404, "unknown_spread")
        return [
            Endpoint("GET", path, self.spreads, "The newest first.", SpreadsView, owner=True),
            Endpoint(
                "POST",
                path,
                self.spread,
                "Give an input to many peers in parts.",
                SpreadView,
                202,
                (SpreadRequest,),
                problems=(
                    (422, "unknown_kind"),
                    (422, "bad_input"),
                    (503, "too_many_spreads"),
                ),
                owner=True,
                example={"kind": "embed", "input": {"texts": ["one", "two"]}},
            ),
            Endpoint(
                "GET",
                f"{path}/{{id}}",
                self.one_spread,
                "Its parts, and the merged output.",
                SpreadView,
                params=(ID,),
                problems=(unknown,),
                owner=True,
            ),
            Endpoint(
                "DELETE",
                f"{path}/{{id}}",
                self.drop,
                "Cancel it.",
                SpreadView,
                202,
                params=(ID,),
                problems=(unknown, (409, "too_late")),
                owner=True,
            ),
        ]

    def _of_trust(self) -> list[Endpoint]:
        path, unknown = "/api/v2/trust", (404, "unknown_node")
        return [
            Endpoint(
                "GET", path, self.trust, "Verdicts on peers' answers.", TrustBookView, owner=True
            ),
            Endpoint(
                "DELETE",
                f"{path}/{{id}}",
                self.forgive,
                "Begin anew with a peer.",
                TrustView,
                params=(ID,),
                problems=(unknown,),
                owner=True,
            ),
            Endpoint(
                "POST",
                f"{path}/{{id}}/check",
                self.check,
                "Ask a peer something of which this node can check the answer.",
                VerdictView,
                bodies=(CheckRequest,),
                params=(ID,),
                problems=(unknown,),
                owner=True,
                example={"model": "qwen3:0.6b"},
                timeout_s=None,
            ),
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

    async def decide(self, request: Request) -> Response:
        """A person's word on an escalated request."""
        self._owner.require(request)
        found = self._found(request)
        fields = Fields(await read_body(request, MAX_TASK_BODY_BYTES), self._facade)
        decision = fields.text("decision")
        text = fields.text("text") if fields.has("text") else None
        fields.done()
        if found.state is not QueueState.ESCALATED:
            told = f"the request is {found.state.value}; only an escalated one waits for a person"
            raise Problem(409, "not_escalated", told)
        match decision, text:
            case "retry", None:
                await self._foreman.try_again(Digest(found.id))
            case "abandon", None:
                await self._foreman.withdraw(Digest(found.id))
            case "answer", str() if found.method != CallKind.EMBED.value and text:
                await self._foreman.answer(found, text)
            case _:
                told = "decision: expected retry, abandon, or answer with a text (which embeddings are not)"
                raise Problem(422, "bad_decision", told)
        return json_response(self._view(self._found(request), with_answer=True), 202)

    def _found(self, request: Request) -> Queued:
        known = {one.id.hex(): one for one in self._foreman.core.room.all()}
        return known[pick(request.path_params["id"], "request", known).hex()]

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

    async def spread(self, request: Request) -> Response:
        """Give an input to many peers in parts."""
        self._owner.require(request)
        fields = Fields(await read_body(request, MAX_TASK_BODY_BYTES), self._facade)
        try:
            given = parse_input(fields.text("kind"), fields.object("input"))
        except UnknownKind as error:
            raise Problem(422, "unknown_kind", str(error)) from None
        except BadInput as error:
            raise Problem(422, "bad_input", str(error)) from None
        deadline_s = fields.natural("deadline_s") if fields.has("deadline_s") else None
        fields.done()
        if deadline_s is not None and not MIN_DEADLINE_S <= deadline_s <= MAX_DEADLINE_S:
            raise Problem(
                400,
                "out_of_range",
                f"deadline_s: must be from {MIN_DEADLINE_S} to {MAX_DEADLINE_S}",
            )
        try:
            begun = await self._spreads.ask(given, deadline_s)
        except SpreadRefusedError as error:
            raise Problem(503, "too_many_spreads", str(error), retry_after_s=5) from None
        return json_response(self._spread_view(begun, with_output=False), 202)

    async def spreads(self, request: Request) -> Response:
        """All of them, the newest first."""
        self._owner.require(request)
        found = self._foreman.core.spreads.all()
        rows = tuple(self._spread_view(one, with_output=False) for one in found)
        return json_response(SpreadsView(spreads=rows))

    async def one_spread(self, request: Request) -> Response:
        """One, with its output."""
        self._owner.require(request)
        return json_response(self._spread_view(self._found_spread(request), with_output=True))

    async def drop(self, request: Request) -> Response:
        """Cancel one."""
        self._owner.require(request)
        found = self._found_spread(request)
        if found.state is not SpreadState.RUNNING:
            raise Problem(409, "too_late", f"it is {found.state.value} already")
        await self._spreads.drop(Digest(found.id))
        return json_response(self._spread_view(self._found_spread(request), with_output=False), 202)

    def _found_spread(self, request: Request) -> Spread:
        known = {one.id.hex(): one for one in self._foreman.core.spreads.all()}
        return known[pick(request.path_params["id"], "spread", known).hex()]

    def _spread_view(self, one: Spread, *, with_output: bool) -> SpreadView:
        output = self._foreman.core.spreads.output(Digest(one.id)) if with_output else None
        return SpreadView(
            id=one.id.hex(),
            kind=one.kind,
            status=one.state.value,
            parts=tuple(map(_part_view, one.parts)),
            reason=one.reason or None,
            output=None if output is None else output_json(one.kind, output),
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
            VerdictView(
                finding=judgement.finding.value,
                reason=judgement.reason,
                tokens=judgement.tokens,
            )
        )


def _part_view(part: Part) -> PartView:
    last = part.tries[-1] if part.tries else None
    return PartView(
        status="waiting" if last is None else last.state.value,
        executor=None if last is None else last.executor.hex(),
        task_id=None if last is None or last.task is None else last.task.hex(),
        tries=len(part.tries),
        lost=tuple(f"{one.executor.hex()[:12]}: {one.reason}" for one in part.tries if one.reason),
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
