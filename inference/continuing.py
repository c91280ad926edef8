"""A stream that another server goes on with when its own breaks, for callers who asked for that.

What stands there so far goes to the next server as the beginning of the assistant's message. A model
that is another one, or draws its words by chance, goes on in its own way, so this is never done
unasked; and not inside a call of a tool, nor where the answer must have a form or be several. The
first chunk after the seam says so in `bizra_continued`, and the stream keeps its id.
"""

from __future__ import annotations

from typing import Final

import msgspec

from inference.backend import BackendError
from inference.backends.passing import pass_chunks
from inference.backends.router import ModelRouter, Routed, RoutedStream
from inference.backends.servers import Take
from inference.chat import Call, CallKind, JsonObject
from inference.failures import Failure, FailureClass

MOST_SEAMS: Final = 2
_LIMITS: Final = ("max_tokens", "max_completion_tokens")


def may_continue(call: Call) -> bool:
    """Whether an answer to this may be continued by another server."""
    body = call.body
    return (
        call.continues
        and call.kind is CallKind.CHAT
        and (body.get("n") or 1) == 1
        and not body.get("tools")
        and (body.get("response_format") or {}).get("type", "text") == "text"
    )


class ContinuedStream:
    """Looks like the stream that it began with."""

    def __init__(self, router: ModelRouter, call: Call, routed: Routed[RoutedStream]) -> None:
        self._router, self._call = router, call
        self._stream, self._server = routed.answer, routed.server
        self._id: str | None = None
        self._text: list[str] = []
        self._has_ended = False
        self._seams = 0
        self._lost: set[str] = set()
        self._seam: JsonObject | None = None

    async def receive(self) -> JsonObject | None:
        """The next chunk; None after a proper end. Raises `Failure` when nobody can go on."""
        while True:
            try:
                chunk = await self._stream.receive()
            except Failure as failure:
                await self._go_on(failure)
                continue
            return None if chunk is None else self._taken(chunk)

    async def pass_on(self, take: Take, _framed: Take | None = None, /) -> bytes | None:
        """As `TokenStream` says."""
        return await pass_chunks(self.receive, take)

    def _taken(self, chunk: JsonObject) -> JsonObject:
        self._id = self._id or chunk["id"]
        chunk["id"] = self._id
        for choice in chunk["choices"]:
            delta = choice.get("delta") or {}
            self._text.append(delta.get("content") or "")
            self._has_ended = self._has_ended or bool(choice.get("finish_reason"))
            if self._seams:
                delta.pop("role", None)
        if self._seam is not None:
            chunk["bizra_continued"] = self._seam
            self._seam = None
        return chunk

    async def _go_on(self, failure: Failure) -> None:
        """Another stream in the place of the broken one. Raises the failure if there is none."""
        passing = failure.kind in (FailureClass.NETWORK, FailureClass.TRANSIENT)
        text = "".join(self._text)
        if not passing or self._has_ended or self._seams >= MOST_SEAMS or not text:
            raise failure
        await self._stream.aclose()
        self._lost.add(self._server)
        try:
            rest = _rest_of(self._call, text, len(self._text))
            routed = await self._router.open_stream(rest, avoid=self._lost)
        except BackendError as error:
            sentence = f"{failure}; nobody goes on with it: {error}"
            raise type(failure)(sentence, status=failure.status) from error
        self._seams += 1
        self._seam = {
            "after_chars": len(text),
            "lost": f"{self._server}: {failure}",
            "server": routed.server,
            "model": routed.model,
        }
        self._stream, self._server = routed.answer, routed.server

    async def aclose(self) -> None:
        """Before its end this tells the server to stop."""
        await self._stream.aclose()


def _rest_of(call: Call, text: str, tokens: int) -> Call:
    """The call for what is still to be said."""
    messages = [*call.body["messages"], {"role": "assistant", "content": text}]
    body = {**call.body, "messages": messages}
    for name in _LIMITS:
        if isinstance(body.get(name), int):
            body[name] = max(1, body[name] - tokens)
    return msgspec.structs.replace(call, body=body)
