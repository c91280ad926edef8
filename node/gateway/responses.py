"""OpenAI's `/v1/responses`: the same models and rules as chat, told as items and typed events."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import msgspec
from starlette.responses import Response

from inference.chat import Call, JsonObject
from inference.engine import AnswerEngine
from inference.failures import Failure
from node.gateway.answering import Listener
from node.gateway.openai_form import Manner, explanation, origin_of
from node.gateway.reads import json_response
from node.gateway.responses_form import response_head, whole_response
from node.gateway.responses_stream import ResponseEvents


class Responses:
    """Answers one call at a time. `now_s` tells Unix time."""

    def __init__(self, engine: AnswerEngine, now_s: Callable[[], int]) -> None:
        self._engine, self._now_s = engine, now_s

    async def whole(
        self, call: Call, asked: JsonObject, manner: Manner, _listener: Listener
    ) -> Response:
        """A plain answer. Raises `BackendError`."""
        routed = await self._engine.complete(call, manner.asker)
        told = whole_response(self._head(routed.model, asked), routed.answer)
        if manner.explain:
            told["bizra"] = explanation(routed)
        return json_response(told, headers=origin_of(routed))

    async def stream(
        self, call: Call, asked: JsonObject, manner: Manner, listener: Listener
    ) -> None:
        """A streamed one. Raises `BackendError` before the first token."""
        routed = await self._engine.open_stream(call)
        try:
            head = self._head(routed.model, asked)
            if manner.explain:
                head["bizra"] = explanation(routed)
            events = ResponseEvents(head)
            told = {"x-bizra-backend": routed.server}
            await listener.begin("text/event-stream", told, follows=True)
            await listener.write(_written(events.begin()))
            try:
                while (chunk := await routed.answer.receive()) is not None:
                    if written := _written(events.take(chunk)):
                        await listener.write(written)
                last = events.end()
            except Failure as failure:
                last = events.fail(failure.code, f"{routed.server}: {failure}; the answer is cut")
            await listener.end(_written(last))
        finally:
            await routed.answer.aclose()

    def _head(self, model: str, asked: JsonObject) -> JsonObject:
        return response_head(f"resp_{secrets.token_hex(12)}", self._now_s(), model, asked)


def _written(events: Iterator[JsonObject]) -> bytes:
    """Events as they go over the wire; here they bear their names."""
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), msgspec.json.encode(event))
        for event in events
    )
