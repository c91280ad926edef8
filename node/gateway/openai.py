"""The door for OpenAI's clients: chat, completions, responses, embeddings and models under `/v1`.

The head of a stream is held back until the first token is there, so that a server that fails before
it is replaced unseen. After it, a failure is an event of its own: a broken stream never ends as if
it were whole.

Each answer names its server in `x-bizra-backend`. With the request header `x-bizra-explain: 1` it
holds a field `bizra`: who was considered, and why it was chosen or not. `x-bizra-peers: 1` lets the
texts go to a peer of the federation, 0 keeps them here whatever the owner allows in general;
`x-bizra-extractive: 0` wants no quotations for `auto`. With `Prefer: respond-async`, or `queue: true` in
the body, what nothing can serve now is answered by 202 and a place in the queue. With
`x-bizra-continue: 1` another server goes on with a stream that breaks.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from inference.backends.router import ListedModel, Routed, RoutedStream
from inference.chat import AUTO, Call, CallKind, JsonObject
from inference.continuing import ContinuedStream
from inference.engine import AnswerEngine
from inference.failures import Failure
from inference.forms import FormedStream
from inference.sse import DONE, event
from node.driver import now_ms
from node.gateway.answering import Answering, Listener
from node.gateway.backroom import Queueing
from node.gateway.endpoint import Endpoint, Handler
from node.gateway.fields import MAX_TASK_BODY_BYTES, read_body, read_headers
from node.gateway.model_routes import openai_endpoints
from node.gateway.openai_form import (
    Manner,
    OpenAiError,
    explanation,
    manner_of,
    origin_of,
    read_call,
    with_wishes,
)
from node.gateway.or_wait import OrWait
from node.gateway.reads import json_response
from node.gateway.responses import Responses
from node.gateway.responses_form import read_response_call
from node.gateway.turns import Turns
from node.views.facade import Problem

_POSTED = frozenset(("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"))
_ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


class OpenAiDoor:
    """One method for each of OpenAI's."""

    def __init__(
        self,
        engine: AnswerEngine,
        turns: Turns,
        *,
        chat_peers: bool = False,
        queue: Queueing | None = None,
    ) -> None:
        self._engine, self._chat_peers = engine, chat_peers
        self._or_wait = OrWait(queue, turns, lambda error: error.response())
        self._responses = Responses(engine, lambda: now_ms() // 1000)

    def endpoints(self) -> list[Endpoint]:
        """What is served under /v1."""
        return openai_endpoints(
            chat=_told(partial(self._generate, CallKind.CHAT)),
            completion=_told(partial(self._generate, CallKind.TEXT)),
            response=_told(self._respond),
            embed=_told(self._embed),
            models=_told(self._models),
            model=_told(self._model),
        )

    def routes(self) -> list[Route]:
        """The same for the router, and what is said of anything else there; the name of a model may have slashes."""
        made = [
            Route(one.path.replace("{id}", "{id:path}"), one.handler, methods=[one.method])
            for one in self.endpoints()
        ]
        return [*made, Route("/v1/{rest:path}", _told(_nothing), methods=_ALL_METHODS)]

    async def _generate(self, kind: CallKind, request: Request) -> Response:
        call = read_call(kind, await read_body(request, MAX_TASK_BODY_BYTES))
        headers = read_headers(request)
        call, manner = with_wishes(call, headers, peers=self._chat_peers), manner_of(headers)
        work = self._stream if call.body.get("stream") else self._whole
        return Answering(self._or_wait(call, headers, manner.asker, partial(work, call, manner)))

    async def _respond(self, request: Request) -> Response:
        call, asked = read_response_call(await read_body(request, MAX_TASK_BODY_BYTES))
        headers = read_headers(request)
        call, manner = with_wishes(call, headers, peers=self._chat_peers), manner_of(headers)
        work = self._responses.stream if asked.get("stream") else self._responses.whole
        return Answering(self._or_wait.or_tell(manner.asker, partial(work, call, asked, manner)))

    async def _whole(self, call: Call, manner: Manner, _listener: Listener) -> Response:
        routed = await self._engine.complete(call, manner.asker)
        answer = routed.answer
        if manner.explain:
            answer = {**answer, "bizra": explanation(routed)}
        return json_response(answer, headers=origin_of(routed))

    async def _stream(self, call: Call, manner: Manner, listener: Listener) -> None:
        routed = await self._engine.open_stream(call)
        try:
            told = {"x-bizra-backend": routed.server}
            await listener.begin("text/event-stream", told, follows=True)
            await self._pass_on(routed, listener, explain=manner.explain)
        finally:
            await routed.answer.aclose()

    async def _pass_on(
        self,
        routed: Routed[RoutedStream | FormedStream | ContinuedStream],
        listener: Listener,
        *,
        explain: bool,
    ) -> None:
        stream = routed.answer
        try:
            if explain and (first := await stream.receive()) is not None:
                told = {**first, "bizra": explanation(routed)}
                await listener.write(event(msgspec.json.encode(told)))
            while (last := await stream.pass_on(listener.take, listener.take_framed)) is None:
                await listener.room()
        except Failure as failure:
            error = OpenAiError(502, failure.code, f"{routed.server}: {failure}; the answer is cut")
            await listener.room()
            await listener.end(event(msgspec.json.encode(error.body())))
        else:
            await listener.end(last + event(DONE))

    async def _embed(self, request: Request) -> Response:
        call = read_call(CallKind.EMBED, await read_body(request, MAX_TASK_BODY_BYTES))
        headers = read_headers(request)
        manner = manner_of(headers)
        work = partial(self._vectors, call, manner)
        return Answering(self._or_wait(call, headers, manner.asker, work))

    async def _vectors(self, call: Call, manner: Manner, _listener: Listener) -> Response:
        routed = await self._engine.embed(call, manner.asker)
        is_plain = call.body.get("encoding_format") != "base64"
        rows = [
            {
                "object": "embedding",
                "index": index,
                "embedding": row if is_plain else _base64(row),
            }
            for index, row in enumerate(routed.answer.rows)
        ]
        tokens = routed.answer.prompt_tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {"object": "list", "data": rows, "model": routed.model, "usage": usage}
        return json_response(answer, headers=origin_of(routed))

    async def _models(self, _request: Request) -> Response:
        rows = [_card(model) for model in await listed(self._engine)]
        return json_response({"object": "list", "data": rows})

    async def _model(self, request: Request) -> Response:
        name = request.path_params["id"]
        for model in await listed(self._engine):
            if model.id == name:
                return json_response(_card(model))
        told = f"there is no model {name[:200]!r} here"
        raise OpenAiError(404, "model_not_found", told, param="model")


async def listed(engine: AnswerEngine) -> tuple[ListedModel, ...]:
    """The name that leaves the choice to the node, and all models."""
    return (ListedModel(AUTO, "bizra-node"), *await engine.models())


def _card(model: ListedModel) -> JsonObject:
    return {"id": model.id, "object": "model", "created": 0, "owned_by": model.server}


def _base64(row: list[float]) -> str:
    return b64encode(struct.pack(f"<{len(row)}f", *row)).decode()


async def _nothing(request: Request) -> Response:
    path, method = request.url.path, request.method
    allowed: tuple[str, ...] = ("POST",) if path in _POSTED else ()
    if path == "/v1/models" or path.startswith("/v1/models/"):
        allowed = ("GET", "HEAD")
    if allowed and method not in allowed:
        told = f"{path[:200]} takes {allowed[0]}, not {method[:20]}"
        raise OpenAiError(405, "unknown_method", told, headers={"allow": ", ".join(allowed)})
    raise OpenAiError(404, "unknown_path", f"there is nothing at {method} {path[:200]}")


def _told(endpoint: Handler) -> Handler:
    """The endpoint with its errors in OpenAI's form."""

    async def told(request: Request) -> Response:
        try:
            return await endpoint(request)
        except OpenAiError as error:
            return error.response()
        except Problem as problem:
            return OpenAiError(problem.status, problem.code, problem.detail).response()

    return told
