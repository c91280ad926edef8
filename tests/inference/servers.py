"""A model server for tests: real HTTP on loopback, both protocols, and every way to misbehave.

    async with model_server("openai", models=("m",)) as server:
        server.acts = [Status(429, retry_after="1"), Speak("a b c")]

Each request for text takes the next act; the last one stays. What was asked is in `server.asked`, and
`server.hung_up` is set when a caller closes its connection in the middle of an answer.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import h11
import trio

from inference.backends.servers import TokenStream

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Speak:
    """Answer with these words. `die_after`: the connection ends after so many of them.

    `wait_after`: nothing comes after so many, until the caller hangs up. `named`: the model that the
    answer claims to be of. Without `finish`, the stream ends as if nothing were missing.
    """

    text: str = "one two three"
    die_after: int | None = None
    wait_after: int | None = None
    named: str | None = None
    finish: bool = True
    pause_ms: int = 0
    """How long a word takes, in a plain answer too."""
    fault_after: int | None = None
    """An error event after so many words."""
    rubbish: bytes | None = None
    """This instead of the last word, once `ModelServer.go_on` is set, and the end of HTTP's body after it."""
    breaks_http: bool = False
    """Whether the rubbish stands where HTTP's own framing should."""
    pieces: tuple[str, ...] = ()
    """Said instead of the words of `text`, as they are."""
    obeys: bool = False
    """Where a schema is asked for, what fits is said instead; where a function is demanded, it is called."""


@dataclass(frozen=True)
class Status:
    """Answer with this status and error."""

    status: int
    message: str = "no"
    retry_after: str | None = None


@dataclass(frozen=True)
class Raw:
    """Answer 200 with exactly this, whatever was asked for."""

    body: bytes
    media_type: str = "application/json"


@dataclass(frozen=True)
class HangUp:
    """Take the request and close the connection."""


@dataclass(frozen=True)
class Silence:
    """Take the request and never answer."""


Act = Speak | Status | Raw | HangUp | Silence


@dataclass
class ModelServer:
    protocol: str
    models: tuple[str, ...]
    acts: list[Act] = field(default_factory=lambda: [Speak()])
    asked: list[tuple[str, JsonObject]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    probes: int = 0
    card: JsonObject = field(default_factory=dict)
    """What its list says of each model."""
    url: str = ""
    hung_up: trio.Event = field(default_factory=trio.Event)
    waiting: trio.Event = field(default_factory=trio.Event)
    go_on: trio.Event = field(default_factory=trio.Event)
    file: str | None = None
    """What `/props` names as the model's file, as llama.cpp's server does."""
    obeys_limits: bool = False
    """Whether it stops after `max_tokens` words, if a request names that."""
    certainty: float = 0.0
    """The log-probability of each of its tokens."""
    tell: Callable[[str], None] = lambda _: None

    def next_act(self) -> Act:
        return self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]

    async def serve(self, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await _Connection(self, stream).run()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.hung_up.set()
            self.tell("hung up")


class _Connection:
    def __init__(self, server: ModelServer, stream: trio.SocketStream) -> None:
        self.server, self.stream = server, stream
        self.http = h11.Connection(h11.SERVER)

    async def run(self) -> None:
        while (asked := await self.request()) is not None:
            path, body = asked
            if not await self.answer(path, body):
                return
            if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE:
                return
            self.http.start_next_cycle()

    async def request(self) -> tuple[str, JsonObject] | None:
        path, body = "", b""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                self.http.receive_data(await self.stream.receive_some(65_536))
            elif isinstance(event, h11.Request):
                path = event.target.decode()
                self.server.headers.append({k.decode(): v.decode() for k, v in event.headers})
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return path, json.loads(body or b"{}")
            else:
                return None

    async def send(self, *events: h11.Event) -> None:
        await self.stream.send_all(b"".join(self.http.send(event) or b"" for event in events))

    async def whole(
        self, status: int, body: bytes, media_type: str, *extra: tuple[str, str]
    ) -> None:
        headers = [("content-type", media_type), ("content-length", str(len(body))), *extra]
        await self.send(
            h11.Response(status_code=status, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )

    async def json(self, value: object) -> bool:
        await self.whole(200, json.dumps(value).encode(), "application/json")
        return True

    async def answer(self, path: str, body: JsonObject) -> bool:
        """Whether the connection may go on."""
        server = self.server
        if path in ("/v1/models", "/api/tags"):
            server.probes += 1
            if path == "/v1/models":
                rows = [{"id": name, **server.card} for name in server.models]
                return await self.json({"data": rows})
            return await self.json({"models": [{"name": name} for name in server.models]})
        if path == "/props" and server.file is not None:
            return await self.json({"model_path": server.file, "total_slots": 4})
        server.asked.append((path, body))
        server.tell("asked")
        if "embed" in path:
            return await self.embeddings(path, body)
        match server.next_act():
            case HangUp():
                return False
            case Silence():
                await self.wait()
                return False
            case Status() as act:
                error = json.dumps({"error": {"message": act.message}}).encode()
                extra = [] if act.retry_after is None else [("retry-after", act.retry_after)]
                await self.whole(act.status, error, "application/json", *extra)
                return True
            case Raw() as act:
                await self.whole(200, act.body, act.media_type)
                return True
            case Speak() as act:
                if server.protocol == "openai":
                    return await OpenAi(self, path, body, act).speak()
                return await Ollama(self, path, body, act).speak()

    async def embeddings(self, path: str, body: JsonObject) -> bool:
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vectors = [[float(len(text)), 0.5, -1.0] for text in texts]
        if path == "/api/embed":
            return await self.json(
                {"model": body["model"], "embeddings": vectors, "prompt_eval_count": len(texts)}
            )
        rows = [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)]
        rows.reverse()
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return await self.json({"data": rows, "model": body["model"], "usage": usage})

    async def wait(self) -> None:
        """Until the caller hangs up."""
        self.server.waiting.set()
        while await self.stream.receive_some(65_536):
            pass
        self.server.hung_up.set()


def fitting(schema: JsonObject) -> object:
    """Something simple that fits a simple schema."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {name: fitting(one) for name, one in schema.get("properties", {}).items()}
    return {"string": "x", "integer": 1, "number": 1.5, "boolean": True, "array": []}.get(
        schema.get("type", "")
    )


class _Speaker:
    media_type = ""

    def __init__(self, connection: _Connection, path: str, body: JsonObject, act: Speak) -> None:
        self.connection, self.path, self.body, self.act = connection, path, body, act
        text = act.text
        form = body.get("response_format") or {}
        if act.obeys and form.get("type") == "json_schema":
            text = json.dumps(fitting(form["json_schema"]["schema"]))
        limit = body.get("max_tokens") if connection.server.obeys_limits else None
        self.words = (list(act.pieces) or [f"{word} " for word in text.split()])[:limit]
        self.model = act.named or body["model"]

    async def speak(self) -> bool:
        if self.is_streamed():
            return await self.stream()
        await trio.sleep(len(self.words) * self.act.pause_ms / 1000)
        return await self.connection.json(self.whole())

    async def stream(self) -> bool:
        head = h11.Response(status_code=200, headers=[("content-type", self.media_type)])
        await self.connection.send(head)
        for number, word in enumerate(self.words):
            if number == self.act.die_after:
                return False
            if number == self.act.wait_after:
                await self.connection.wait()
                return False
            if number == self.act.fault_after:
                await self.connection.send(h11.Data(data=self.fault()), h11.EndOfMessage())
                return True
            if self.act.rubbish is not None and number == len(self.words) - 1:
                return await self.talk_rubbish(self.act.rubbish)
            await self.connection.send(h11.Data(data=self.piece(number, word)))
            await trio.sleep(self.act.pause_ms / 1000)
        end = self.ending() if self.act.finish else self.unfinished()
        await self.connection.send(h11.Data(data=end), h11.EndOfMessage())
        return True

    async def talk_rubbish(self, rubbish: bytes) -> bool:
        await self.connection.server.go_on.wait()
        if self.act.breaks_http:
            await self.connection.stream.send_all(rubbish)
            return False
        await self.connection.send(h11.Data(data=rubbish), h11.EndOfMessage())
        return True

    def is_streamed(self) -> bool:
        raise NotImplementedError

    def whole(self) -> JsonObject:
        raise NotImplementedError

    def piece(self, number: int, word: str) -> bytes:
        raise NotImplementedError

    def ending(self) -> bytes:
        raise NotImplementedError

    def unfinished(self) -> bytes:
        raise NotImplementedError

    def fault(self) -> bytes:
        raise NotImplementedError


class OpenAi(_Speaker):
    media_type = "text/event-stream"

    def is_streamed(self) -> bool:
        return bool(self.body.get("stream"))

    def usage(self) -> JsonObject:
        count = len(self.words)
        return {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}

    def whole(self) -> JsonObject:
        content = "".join(self.words)
        choice: JsonObject = {"index": 0, "finish_reason": "stop" if self.act.finish else None}
        if "chat" in self.path:
            choice["message"] = {"role": "assistant", "content": content}
            if self.act.obeys and isinstance(self.body.get("tool_choice"), dict):
                choice["message"] = {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": self.calls(),
                }
                choice["finish_reason"] = "tool_calls"
            if self.body.get("logprobs"):
                choice["logprobs"] = {"content": [*map(self.likely, range(len(self.words)))]}
        else:
            choice["text"] = content
        head = {"id": "x1", "object": "chat.completion", "created": 1, "model": self.model}
        return {**head, "choices": [choice], "usage": self.usage()}

    def calls(self) -> list[JsonObject]:
        function = self.body["tools"][0]["function"]
        arguments = json.dumps(fitting(function["parameters"]))
        called = {"name": function["name"], "arguments": arguments}
        return [{"id": "call_1", "type": "function", "function": called}]

    def likely(self, number: int) -> JsonObject:
        told = {"token": self.words[number], "id": number, "bytes": None}
        told["logprob"] = self.connection.server.certainty
        return {**told, "top_logprobs": [dict(told)]}

    def event(self, choices: list[JsonObject], **more: object) -> bytes:
        chunk = {
            "id": "x1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": self.model,
            "choices": choices,
            **more,
        }
        return f"data: {json.dumps(chunk)}\n\n".encode()

    def piece(self, number: int, word: str) -> bytes:
        if "chat" not in self.path:
            return self.event([{"index": 0, "text": word, "finish_reason": None}])
        first = self.event([{"index": 0, "delta": {"role": "assistant", "content": ""}}])
        delta: JsonObject = {"index": 0, "delta": {"content": word}, "finish_reason": None}
        if self.body.get("logprobs"):
            delta["logprobs"] = {"content": [self.likely(number)]}
        return (b"" if number else first) + self.event([delta])

    def ending(self) -> bytes:
        last: JsonObject = {"index": 0, "finish_reason": "stop"}
        last["delta" if "chat" in self.path else "text"] = {} if "chat" in self.path else ""
        wants = (self.body.get("stream_options") or {}).get("include_usage")
        usage = self.event([], usage=self.usage()) if wants else b""
        return self.event([last]) + usage + self.unfinished()

    def unfinished(self) -> bytes:
        return b"data: [DONE]\n\n"

    def fault(self) -> bytes:
        return b'data: {"error": {"message": "out of memory"}}\n\n'


class Ollama(_Speaker):
    media_type = "application/x-ndjson"

    def is_streamed(self) -> bool:
        return self.body.get("stream") is not False

    def line(self, text: str, **more: object) -> JsonObject:
        told: JsonObject = {
            "model": self.model,
            "created_at": "2025-01-01T00:00:00Z",
            "done": False,
        }
        if self.path == "/api/chat":
            told["message"] = {"role": "assistant", "content": text}
        else:
            told["response"] = text
        return {**told, **more}

    def last(self, text: str) -> JsonObject:
        counts = {"prompt_eval_count": 7, "eval_count": len(self.words)}
        return self.line(text, done=self.act.finish, done_reason="stop", **counts)

    def whole(self) -> JsonObject:
        return self.last("".join(self.words))

    def piece(self, number: int, word: str) -> bytes:
        return json.dumps(self.line(word)).encode() + b"\n"

    def ending(self) -> bytes:
        return json.dumps(self.last("")).encode() + b"\n"

    def unfinished(self) -> bytes:
        return b"\n"

    def fault(self) -> bytes:
        return b'{"error": "out of memory"}\n'


@asynccontextmanager
async def model_server(
    protocol: str = "openai", models: tuple[str, ...] = ("m",)
) -> AsyncIterator[ModelServer]:
    """A running server on a free port."""
    server = ModelServer(protocol, models)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        server.url = f"http://127.0.0.1:{port}"
        yield server
        nursery.cancel_scope.cancel()


async def chunks_of(stream: TokenStream) -> list[JsonObject]:
    """All of a stream, which is closed. Raises `Failure`."""
    chunks = []
    try:
        while (chunk := await stream.receive()) is not None:
            chunks.append(chunk)
    finally:
        await stream.aclose()
    return chunks
