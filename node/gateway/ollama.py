"""The door for Ollama's clients: `/api/chat`, `/api/generate`, `/api/embed`, `/api/tags`.

The same models, headers and rules as under `/v1`, peers and the queue with them; only the form differs: lines of JSON,
and errors as `{"error": "..."}`. What waited in the queue is kept in OpenAI's form.
"""

from __future__ import annotations

from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from inference.chat import Call, JsonObject
from inference.engine import AnswerEngine
from inference.failures import Failure
from node.gateway.answering import Answering, Listener
from node.gateway.backroom import Queueing
from node.gateway.endpoint import Endpoint, Handler
from node.gateway.fields import MAX_TASK_BODY_BYTES, read_body, read_headers
from node.gateway.model_routes import ollama_endpoints
from node.gateway.ollama_form import OllamaForm, read_chat, read_embed, read_generate
from node.gateway.openai import listed
from node.gateway.openai_form import Manner, OpenAiError, manner_of, origin_of, with_wishes
from node.gateway.or_wait import OrWait
from node.gateway.reads import json_response
from node.gateway.turns import Turns
from node.views.facade import Problem


class OllamaDoor:
    """One method for each of Ollama's."""

    def __init__(
        self,
        engine: AnswerEngine,
        turns: Turns,
        *,
        chat_peers: bool = False,
        queue: Queueing | None = None,
    ) -> None:
        self._engine, self._chat_peers = engine, chat_peers
        self._or_wait = OrWait(queue, turns, _response)

    def endpoints(self) -> list[Endpoint]:
        """What is served under /api, beside /api/v2."""
        return ollama_endpoints(
            chat=_told(self._chat),
            generate=_told(self._generate),
            embed=_told(self._embed),
            tags=_told(self._tags),
        )

    def routes(self) -> list[Route]:
        """The same for the router."""
        return [Route(one.path, one.handler, methods=[one.method]) for one in self.endpoints()]

    async def _chat(self, request: Request) -> Response:
        call = read_chat(await read_body(request, MAX_TASK_BODY_BYTES))
        return self._answering(call, OllamaForm(is_chat=True), request)

    async def _generate(self, request: Request) -> Response:
        call = read_generate(await read_body(request, MAX_TASK_BODY_BYTES))
        return self._answering(call, OllamaForm(is_chat=False), request)

    def _answering(self, call: Call, form: OllamaForm, request: Request) -> Response:
        headers = read_headers(request)
        call, manner = with_wishes(call, headers, peers=self._chat_peers), manner_of(headers)
        work = self._stream if call.body["stream"] else self._whole
        done = partial(work, call, form, manner)
        return Answering(self._or_wait(call, headers, manner.asker, done))

    async def _whole(
        self, call: Call, form: OllamaForm, manner: Manner, _listener: Listener
    ) -> Response:
        routed = await self._engine.complete(call, manner.asker)
        return json_response(form.whole(routed.answer), headers=origin_of(routed))

    async def _stream(
        self, call: Call, form: OllamaForm, _manner: Manner, listener: Listener
    ) -> None:
        routed = await self._engine.open_stream(call)
        last: JsonObject = {}
        try:
            told = {"x-bizra-backend": routed.server}
            await listener.begin("application/x-ndjson", told, follows=True)
            try:
                while (chunk := await routed.answer.receive()) is not None:
                    last = chunk
                    if (line := form.chunk(chunk)) is not None:
                        await listener.write(msgspec.json.encode(line) + b"\n")
                end = form.last(last)
            except Failure as failure:
                end = {"error": f"{routed.server}: {failure}; the answer is cut"}
            await listener.end(msgspec.json.encode(end) + b"\n")
        finally:
            await routed.answer.aclose()

    async def _embed(self, request: Request) -> Response:
        call = read_embed(await read_body(request, MAX_TASK_BODY_BYTES))
        headers = read_headers(request)
        manner = manner_of(headers)
        work = partial(self._vectors, call, manner)
        return Answering(self._or_wait(call, headers, manner.asker, work))

    async def _vectors(self, call: Call, manner: Manner, _listener: Listener) -> Response:
        routed = await self._engine.embed(call, manner.asker)
        vectors = routed.answer
        return json_response(
            {
                "model": routed.model,
                "embeddings": vectors.rows,
                "prompt_eval_count": vectors.prompt_tokens,
            },
            headers=origin_of(routed),
        )

    async def _tags(self, _request: Request) -> Response:
        # What this node does not know of a model (size, digest, age) is left out, not made up.
        rows = [{"name": model.id, "model": model.id} for model in await listed(self._engine)]
        return json_response({"models": rows})


def _response(error: OpenAiError) -> Response:
    return Response(
        msgspec.json.encode({"error": str(error)}),
        error.status,
        error.headers,
        media_type="application/json",
    )


def _told(endpoint: Handler) -> Handler:
    """The endpoint with its errors in Ollama's form."""

    async def told(request: Request) -> Response:
        try:
            return await endpoint(request)
        except OpenAiError as error:
            return _response(error)
        except Problem as problem:
            return _response(OpenAiError(problem.status, problem.code, problem.detail))

    return told
