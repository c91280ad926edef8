"""A server that speaks OpenAI's protocol: LM Studio, llama.cpp's server, vLLM and others.

Requests go through as they came, so that tools, schemas, log-probabilities and a server's own
settings work without this node knowing them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from inference.backends.servers import ServerSettings, Vectors
from inference.backends.stream import ChunkStream
from inference.backends.wire import Wire
from inference.chat import (
    Call,
    CallKind,
    JsonObject,
    check_answer,
    check_model,
    decode_object,
)
from inference.failures import Garbled
from inference.sse import DONE, SseParser, is_one_line

PROBE_S: Final = 3.0
_MAX_MODELS: Final = 1_000
_PATHS: Final = {
    CallKind.CHAT: "/chat/completions",
    CallKind.TEXT: "/completions",
    CallKind.EMBED: "/embeddings",
}


class OpenAiServer:
    """A `Server`. Its URL may end in `/v1` or not."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        base = settings.url.rstrip("/").removesuffix("/v1") + "/v1"
        self._wire = Wire(base, settings.api_key, settings.timeout_s)
        self.contexts: Mapping[str, int] = {}
        """As the last probe told, for the models of which the server says it."""

    async def aclose(self) -> None:
        await self._wire.aclose()

    async def probe(self) -> tuple[str, ...]:
        answer = await self._wire.get("/models", PROBE_S)
        names = names_in(answer.get("data"), "id")
        told = {row["id"]: _context_in(row) for row in answer["data"]}
        self.contexts = {name: context for name, context in told.items() if context is not None}
        return names

    async def complete(self, call: Call) -> JsonObject:
        body = {**call.body, "model": call.model, "stream": False}
        body.pop("stream_options", None)
        return check_answer(call, await self._wire.post(_PATHS[call.kind], body))

    async def open_stream(self, call: Call) -> ChunkStream:
        body = {**call.body, "model": call.model, "stream": True}
        reply = await self._wire.open(_PATHS[call.kind], body, "text/event-stream")
        return ChunkStream(reply, SseChunks(), call, self.settings.timeout_s)

    async def embed(self, call: Call) -> Vectors:
        body = {**call.body, "model": call.model, "encoding_format": "float"}
        answer = await self._wire.post(_PATHS[call.kind], body)
        check_model(call.model, answer)
        rows = answer.get("data")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Garbled("its answer has no list of embeddings")
        rows.sort(key=lambda row: row.get("index", 0))
        tokens = (answer.get("usage") or {}).get("prompt_tokens") or 0
        return Vectors(checked_vectors([row.get("embedding") for row in rows], call), tokens)


class SseChunks:
    """Server-sent events to chunks."""

    def __init__(self) -> None:
        self._events = SseParser()
        self.is_done = False

    def event_in(self, received: bytes) -> bytes | None:
        data = self._events.only(received)
        return None if data == DONE or b"\r" in received else data

    def feed(self, received: bytes) -> Iterator[tuple[JsonObject, bytes | None]]:
        for data in self._events.feed(received):
            if data.strip() == DONE:
                self.is_done = True
                return
            yield decode_object(data), data if is_one_line(data) else None


def _context_in(row: JsonObject) -> int | None:
    """How much a model reads, in the words of vLLM, LM Studio, or llama.cpp."""
    meta = row.get("meta")
    said = (
        row.get("max_model_len"),
        row.get("loaded_context_length"),
        row.get("max_context_length"),
        meta.get("n_ctx") or meta.get("n_ctx_train") if isinstance(meta, dict) else None,
    )
    return next((one for one in said if type(one) is int and one > 0), None)


def names_in(rows: Any, key: str) -> tuple[str, ...]:  # noqa: ANN401 - what a server sent
    """The models of a list. Raises `Garbled`."""
    if not isinstance(rows, list) or len(rows) > _MAX_MODELS:
        raise Garbled("its answer holds no list of models")
    names = [row.get(key) for row in rows if isinstance(row, dict)]
    if len(names) != len(rows) or not all(isinstance(name, str) and name for name in names):
        raise Garbled(f"its list holds models without {key}")
    return tuple(str(name) for name in names)


def checked_vectors(vectors: list[Any], call: Call) -> list[list[float]]:
    """A vector of numbers for each text, all of one length. Raises `Garbled`."""
    texts = call.body["input"]
    expected = len(texts) if isinstance(texts, list) and not _is_tokens(texts) else 1
    if len(vectors) != expected:
        raise Garbled(f"it answered {len(vectors)} vectors for {expected} texts")
    lengths = set()
    for vector in vectors:
        if not isinstance(vector, list) or not all(type(value) in (int, float) for value in vector):
            raise Garbled("a vector of its answer is no list of numbers")
        lengths.add(len(vector))
    if len(lengths) != 1 or 0 in lengths:
        raise Garbled("the vectors of its answer are not of one length")
    return vectors


def _is_tokens(texts: list[Any]) -> bool:
    return bool(texts) and isinstance(texts[0], int)
