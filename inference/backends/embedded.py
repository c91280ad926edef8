"""The embedded model as the last of the servers: embeddings, and conversations answered by quoting."""

from __future__ import annotations

import re
import secrets
import struct
from collections import deque
from collections.abc import Callable
from typing import Final

from inference.backend import (
    Backend,
    BackendLost,
    BackendUnavailable,
    Busy,
    Result,
    TaskFailed,
    TimedOut,
)
from inference.backends.passing import pass_chunks
from inference.backends.servers import ServerSettings, Take, Vectors
from inference.chat import Call, CallKind, JsonObject
from inference.failures import (
    BadRequest,
    Broken,
    ContextOverflow,
    Overloaded,
    Silent,
    Unreachable,
    Unsupported,
)
from inference.kinds import (
    AnswerOutput,
    BadInput,
    EmbedInput,
    EmbedOutput,
    TaskInput,
    decode_output,
    encode_input,
    kind_of,
)
from inference.quoting import MODEL, Quoted, check_quotable, question_of, quoted
from inference.selection import ServerKind
from memory.model_files import DIMENSIONS, MODEL_NAME

NAME: Final = "embedded"
"""The server's name in decisions; no other server may bear it."""

_TIMEOUT_S: Final = 120.0
_BUSY_MS: Final = 1_000
_PIECE: Final = re.compile(r"\S*\s*")
"""A word and the blanks after it: what a stream hands out at a time."""


class EmbeddedServer:
    """A `Server` in front of the embedded backend. `now_s` tells Unix time."""

    def __init__(self, backend: Backend, now_s: Callable[[], int]) -> None:
        self.settings = ServerSettings(
            name=NAME, url="", kind=ServerKind.EMBEDDED, timeout_s=_TIMEOUT_S
        )
        self._backend, self._now_s = backend, now_s

    async def aclose(self) -> None:
        """The backend is not this object's to end."""

    async def probe(self) -> tuple[str, ...]:
        return (MODEL, MODEL_NAME)

    async def complete(self, call: Call) -> JsonObject:
        answer, usage = await self._quote(call)
        choice: JsonObject = {"index": 0, "finish_reason": "stop", "logprobs": None}
        if call.kind is CallKind.CHAT:
            choice["message"] = {
                "role": "assistant",
                "content": answer.text,
                "refusal": None,
                "citations": answer.citations,
            }
            return {**self._head(call, "chat.completion"), "choices": [choice], "usage": usage}
        choice["text"] = answer.text
        return {**self._head(call, "text_completion"), "choices": [choice], "usage": usage}

    async def open_stream(self, call: Call) -> _Pieces:
        answer, usage = await self._quote(call)
        is_chat = call.kind is CallKind.CHAT
        head = self._head(call, "chat.completion.chunk" if is_chat else "text_completion")
        pieces: list[JsonObject] = []
        for number, piece in enumerate(filter(None, _PIECE.findall(answer.text))):
            role = {"role": "assistant"} if number == 0 else {}
            pieces.append({"delta": {**role, "content": piece}} if is_chat else {"text": piece})
        last = {"delta": {"citations": answer.citations}} if is_chat else {"text": ""}
        chunks = [
            {**head, "choices": [{"index": 0, **piece, "logprobs": None, "finish_reason": finish}]}
            for piece, finish in [*((piece, None) for piece in pieces), (last, "stop")]
        ]
        if call.wants_usage:
            chunks.append({**head, "choices": [], "usage": usage})
        return _Pieces(chunks)

    async def embed(self, call: Call) -> Vectors:
        if call.model != MODEL_NAME:
            raise BadRequest(f"{call.model} makes no embeddings; ask for {MODEL_NAME}")
        if call.body.get("dimensions") not in (None, DIMENSIONS):
            raise BadRequest(f"dimensions: {MODEL_NAME} has {DIMENSIONS}")
        given = call.body["input"]
        texts = [given] if isinstance(given, str) else given
        if not all(isinstance(text, str) for text in texts):
            raise BadRequest(f"input: {MODEL_NAME} takes texts, not tokens")
        result = await self._run(EmbedInput(texts=tuple(texts)))
        output = decode_output("embed", result.output)
        assert isinstance(output, EmbedOutput)
        if output.truncated and not call.body.get("truncate"):
            raise ContextOverflow(
                f"input: the texts with the indices {list(output.truncated[:16])} are longer than "
                f"{MODEL_NAME} reads; cut them, or send `truncate`: true to have their ends left out"
            )
        rows = struct.iter_unpack(f"<{output.dimensions}f", output.vectors)
        return Vectors(list(map(list, rows)), result.usage.tokens)

    async def _quote(self, call: Call) -> tuple[Quoted, JsonObject]:
        if call.model != MODEL:
            raise BadRequest(f"{call.model} makes embeddings only; to have text quoted ask {MODEL}")
        check_quotable(call.body)
        if call.kind is CallKind.CHAT:
            messages = call.body["messages"]
        elif isinstance(call.body["prompt"], str):
            messages = [{"role": "user", "content": call.body["prompt"]}]
        else:
            raise Unsupported(f"{MODEL} takes one prompt, as a text")
        task, tokens, output = question_of(messages), 0, None
        if task is not None:
            result = await self._run(task)
            tokens = result.usage.tokens
            found = decode_output("answer", result.output)
            assert isinstance(found, AnswerOutput)
            output = found
        # Nothing was generated: quoting costs no completion tokens.
        usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
        return quoted(output), usage

    async def _run(self, task: TaskInput) -> Result:
        try:
            encoded = encode_input(task)
            return await self._backend.run(kind_of(task), encoded, timeout_s=_TIMEOUT_S)
        except BadInput as error:
            raise BadRequest(str(error)) from error
        except Busy as error:
            raise Overloaded(str(error), retry_after_ms=_BUSY_MS) from error
        except TimedOut as error:
            raise Silent(str(error)) from error
        except (BackendLost, TaskFailed) as error:
            raise Broken(str(error)) from error
        except BackendUnavailable as error:
            raise Unreachable(str(error)) from error

    def _head(self, call: Call, kind: str) -> JsonObject:
        prefix = "chatcmpl" if call.kind is CallKind.CHAT else "cmpl"
        return {
            "id": f"{prefix}-{secrets.token_hex(12)}",
            "object": kind,
            "created": self._now_s(),
            "model": call.model,
        }


class _Pieces:
    """An answer that is there already, handed out as a stream."""

    def __init__(self, chunks: list[JsonObject]) -> None:
        self._chunks = deque(chunks)

    async def receive(self) -> JsonObject | None:
        return self._chunks.popleft() if self._chunks else None

    async def pass_on(self, take: Take, _framed: Take | None = None, /) -> bytes | None:
        return await pass_chunks(self.receive, take)

    async def aclose(self) -> None:
        self._chunks.clear()
