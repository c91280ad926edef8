"""Chat's chunks to the typed events of a streamed response. Pure.

Text comes in one message item, each call of a function in an item of its own; an item is opened by
its first piece and closed by the next item or the end. Every event bears a number that counts up.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from inference.chat import JsonObject
from node.gateway.responses_form import (
    call_item,
    finished,
    message_item,
    text_part,
    usage_of,
)


class ResponseEvents:
    """`head` is the response without anything in it (`response_head`)."""

    def __init__(self, head: JsonObject) -> None:
        self._head = head
        self._stem = head["id"].removeprefix("resp_")
        self._count = 0
        self._output: list[JsonObject] = []
        self._open: _Text | _Call | None = None
        self._usage: JsonObject | None = None
        self._finish: str | None = None

    def begin(self) -> Iterator[JsonObject]:
        """Before the first chunk."""
        yield self._event("response.created", response=self._head)
        yield self._event("response.in_progress", response=self._head)

    def take(self, chunk: JsonObject) -> Iterator[JsonObject]:
        """What one chunk stands for."""
        self._usage = usage_of(chunk.get("usage")) or self._usage
        for choice in chunk["choices"]:
            delta = choice.get("delta") or {}
            if delta.get("content"):
                logprobs = (choice.get("logprobs") or {}).get("content") or []
                yield from self._text(delta["content"], logprobs)
            for call in delta.get("tool_calls") or ():
                yield from self._call(call)
            self._finish = choice.get("finish_reason") or self._finish

    def end(self) -> Iterator[JsonObject]:
        """After a proper end."""
        yield from self._close()
        response = finished({**self._head, "usage": self._usage}, self._output, self._finish)
        yield self._event(f"response.{response['status']}", response=response)

    def fail(self, code: str, message: str) -> Iterator[JsonObject]:
        """The answer broke: nobody may take it for whole."""
        error = {"code": "server_error", "message": message}
        failed = {**self._head, "status": "failed", "error": error, "output": self._output}
        yield self._event("response.failed", response=failed)
        told = {"message": message, "type": "server_error", "param": None, "code": code}
        yield self._event("error", code=code, message=message, param=None, error=told)

    def _event(self, kind: str, **more: object) -> JsonObject:
        number, self._count = self._count, self._count + 1
        return {"type": kind, "sequence_number": number, **more}

    def _text(self, piece: str, logprobs: list[object]) -> Iterator[JsonObject]:
        if not isinstance(self._open, _Text):
            yield from self._close()
            place = len(self._output)
            self._open = _Text(f"msg_{self._stem}_{place}", place)
            item = message_item(self._open.id, [], "in_progress")
            yield self._event("response.output_item.added", output_index=place, item=item)
            yield self._event(
                "response.content_part.added", **self._open.where(), part=text_part("")
            )
        self._open.parts.append(piece)
        self._open.logprobs.extend(logprobs)
        yield self._event(
            "response.output_text.delta", **self._open.where(), delta=piece, logprobs=logprobs
        )

    def _call(self, call: JsonObject) -> Iterator[JsonObject]:
        function = call.get("function") or {}
        number = call.get("index", 0)
        if not isinstance(self._open, _Call) or self._open.number != number:
            yield from self._close()
            place = len(self._output)
            call_id = str(call.get("id") or f"call_{self._stem}_{place}")
            name = str(function.get("name") or "")
            self._open = _Call(f"fc_{self._stem}_{place}", place, number, call_id, name)
            item = call_item(self._open.id, call_id, name, "", "in_progress")
            yield self._event("response.output_item.added", output_index=place, item=item)
        piece = function.get("arguments")
        if piece:
            self._open.parts.append(str(piece))
            yield self._event(
                "response.function_call_arguments.delta",
                item_id=self._open.id,
                output_index=self._open.place,
                delta=str(piece),
            )

    def _close(self) -> Iterator[JsonObject]:
        """Close the item that is open."""
        current, self._open = self._open, None
        if current is None:
            return
        whole = "".join(current.parts)
        if isinstance(current, _Text):
            part = text_part(whole, current.logprobs)
            item = message_item(current.id, [part], "completed")
            yield self._event(
                "response.output_text.done",
                **current.where(),
                text=whole,
                logprobs=current.logprobs,
            )
            yield self._event("response.content_part.done", **current.where(), part=part)
        else:
            item = call_item(current.id, current.call_id, current.name, whole, "completed")
            yield self._event(
                "response.function_call_arguments.done",
                item_id=current.id,
                output_index=current.place,
                name=current.name,
                arguments=whole,
            )
        self._output.append(item)
        yield self._event("response.output_item.done", output_index=current.place, item=item)


class _Text(msgspec.Struct):
    """A message that is being written."""

    id: str
    place: int
    parts: list[str] = []
    logprobs: list[object] = []

    def where(self) -> JsonObject:
        return {"item_id": self.id, "output_index": self.place, "content_index": 0}


class _Call(msgspec.Struct):
    """A call that is being written. `number` is its index in chat's form."""

    id: str
    place: int
    number: int
    call_id: str
    name: str
    parts: list[str] = []
