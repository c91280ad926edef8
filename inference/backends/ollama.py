"""An Ollama server, asked in its own protocol: it says there more than in its copy of OpenAI's."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from inference.backends.ollama_form import OllamaAnswer, to_ollama
from inference.backends.openai import PROBE_S, checked_vectors, names_in
from inference.backends.servers import ServerSettings, Vectors
from inference.backends.stream import ChunkStream
from inference.backends.wire import Wire
from inference.chat import Call, CallKind, JsonObject, check_answer, check_model

_PATHS = {CallKind.CHAT: "/api/chat", CallKind.TEXT: "/api/generate"}


class OllamaServer:
    """A `Server`. `now_s` tells Unix time, for what OpenAI's form calls `created`."""

    def __init__(self, settings: ServerSettings, now_s: Callable[[], int]) -> None:
        self.settings = settings
        self._now_s = now_s
        self._wire = Wire(settings.url, settings.api_key, settings.timeout_s)

    async def aclose(self) -> None:
        await self._wire.aclose()

    async def probe(self) -> tuple[str, ...]:
        answer = await self._wire.get("/api/tags", PROBE_S)
        return names_in(answer.get("models"), "name")

    async def complete(self, call: Call) -> JsonObject:
        answer = await self._wire.post(_PATHS[call.kind], to_ollama(call, stream=False))
        return check_answer(call, self._answer(call).whole(answer))

    async def open_stream(self, call: Call) -> ChunkStream:
        asked = to_ollama(call, stream=True)
        reply = await self._wire.open(_PATHS[call.kind], asked, "application/x-ndjson")
        return ChunkStream(reply, self._answer(call), call, self.settings.timeout_s)

    async def embed(self, call: Call) -> Vectors:
        asked: JsonObject = {
            "model": call.model,
            "input": call.body["input"],
            "truncate": bool(call.body.get("truncate")),
        }
        if call.body.get("dimensions") is not None:
            asked["dimensions"] = call.body["dimensions"]
        answer = await self._wire.post("/api/embed", asked)
        check_model(call.model, answer)
        tokens = answer.get("prompt_eval_count") or 0
        return Vectors(checked_vectors(answer.get("embeddings") or [], call), tokens)

    def _answer(self, call: Call) -> OllamaAnswer:
        prefix = "chatcmpl" if call.kind is CallKind.CHAT else "cmpl"
        return OllamaAnswer(call, id=f"{prefix}-{secrets.token_hex(12)}", created=self._now_s())
