"""One request and its answer: what ASGI calls `scope`, `receive` and `send`.

The connection puts in what it reads; the application takes it out at its own pace, and the
connection reads no more while much is waiting. The head of an answer whose length is known waits for
its body, so that a short answer is one write.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any, Final, Protocol

import trio

from inference.backends.framing import framed

Message = MutableMapping[str, Any]
Headers = list[tuple[bytes, bytes]]

_REASONS: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_BODILESS: Final = frozenset({204, 304})
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODY_PAUSE_S: Final = 60.0
"""A caller that sends nothing of an announced body for so long counts as gone."""
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Way(Protocol):
    """To the caller. `write` and `drain` raise `trio.BrokenResourceError` when nobody is there to read."""

    async def write(self, data: bytes) -> None: ...

    def write_now(self, data: bytes) -> bool:
        """Whether there is room for more. If not, `drain` comes before any other write.

        Another thread may write too while no task does. It raises nothing: where nobody reads, there is no room.
        """

    async def drain(self) -> None:
        """Wait until what there was no room for has left."""

    def taken(self, size_bytes: int) -> None:
        """The application has taken so much of the body."""


class Exchange:
    """What leaves goes by `way`."""

    __slots__ = (
        "_body",
        "_expects_continue",
        "_head",
        "_is_chunked",
        "_is_complete",
        "_is_measured",
        "_is_told",
        "_more",
        "_stopped",
        "_way",
        "head_waits",
        "headers",
        "is_answered",
        "is_begun",
        "is_gone",
        "keeps_alive",
        "method",
        "target",
        "version",
    )

    def __init__(self, way: Way) -> None:
        self._way = way
        self.method, self.target, self.version = "", b"", "1.1"
        self.headers: Headers = []
        self.keeps_alive = True
        self.head_waits = False
        """Whether the head of a stream waits for its first piece, which is at hand."""
        self.is_begun = False
        """Whether a part of the answer has left."""
        self.is_answered = False
        self.is_gone = False
        """Whether the caller hung up."""
        self._body: deque[bytes] = deque()
        self._is_complete = False
        self._is_told = False
        """Whether the application knows that the body is complete."""
        self._more: trio.Event | None = None
        self._stopped: trio.CancelScope | None = None
        self._head: bytes | None = None
        self._is_chunked = False
        self._is_measured = False
        self._expects_continue = False

    # What the connection puts in

    def begin(self, method: str, version: str, *, keeps_alive: bool) -> None:
        """The head is there."""
        self.method, self.version, self.keeps_alive = method, version, keeps_alive
        self._expects_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers
        )

    def feed(self, part: bytes) -> None:
        """A piece of the body."""
        self._body.append(part)
        self._wake()

    def complete(self) -> None:
        """The body's end."""
        self._is_complete = True
        self._wake()

    def gone(self) -> None:
        """The caller hung up."""
        self.is_gone = True
        if self._stopped is not None:
            self._stopped.cancel()
        self._wake()

    def _wake(self) -> None:
        if self._more is not None:
            self._more.set()
            self._more = None

    # What the application sees

    def stop_when_gone(self, scope: trio.CancelScope) -> None:
        """Cancel this scope as soon as the caller hangs up; cheaper than a task that waits for it."""
        self._stopped = scope
        if self.is_gone:
            scope.cancel()

    def go_on_when_gone(self) -> None:
        """Take `stop_when_gone` back."""
        self._stopped = None

    async def receive(self) -> Message:
        """ASGI's: the next piece of the body, or that the caller hung up."""
        if self._expects_continue and not self.is_begun:
            self._expects_continue = False
            if not self._body and not self._is_complete:
                await self._way.write(_CONTINUE)
        pause_s = math.inf if self._is_told else _BODY_PAUSE_S
        with trio.move_on_after(pause_s) as scope:
            while not (self._body or self.is_gone or (self._is_complete and not self._is_told)):
                self._more = self._more or trio.Event()
                await self._more.wait()
        if scope.cancelled_caught or not (self._body or (self._is_complete and not self._is_told)):
            return {"type": "http.disconnect"}
        self._is_told = self._is_complete
        return {"type": "http.request", "body": self._take(), "more_body": not self._is_told}

    def take_whole(self) -> bytes | None:
        """What is left of the body, if its end is here: no need to wait, so no need of a time limit."""
        if self._is_told or not self._is_complete:
            return None
        self._is_told = True
        return self._take() if self._body else b""

    def _take(self) -> bytes:
        """All of the body that waits."""
        part = self._body.popleft() if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._way.taken(len(part))
        return part

    def forget_body(self) -> bool:
        """Throw away what waits of the body; whether it was all."""
        if self._body:
            self._take()
        return self._is_complete

    async def send(self, message: Message) -> None:
        """ASGI's: a piece of the answer. Nothing happens once the caller hung up."""
        if message["type"] == "http.response.start":
            assert self._head is None
            assert not self.is_begun
            self._head = self._answer_head(message["status"], message.get("headers", ()))
            if self._is_chunked and not self.head_waits:
                # A stream's first piece may be long in coming.
                head, self._head = self._head, None
                await self._send_out(head)
            return
        assert message["type"] == "http.response.body"
        assert not self.is_answered
        part, is_last = message.get("body", b""), not message.get("more_body", False)
        await self._send_out(self._framed(part, is_last=is_last))
        self.is_answered = is_last

    async def _send_out(self, data: bytes) -> None:
        if data and not self.is_gone:
            self.is_begun = True
            try:
                await self._way.write(data)
            except trio.BrokenResourceError:
                self.gone()

    def send_now(self, part: bytes) -> bool:
        """`send` for a piece of a stream, without waiting; whether there is room for more.

        If not, `room` comes before anything else is sent. Another thread may call it while no task sends.
        """
        if self.is_gone:
            return False
        self.is_begun = True
        is_plain = self._is_chunked and self._head is None and self.method != "HEAD"
        return self._way.write_now(framed(part) if is_plain else self._framed(part))

    @property
    def send_framed(self) -> Callable[[bytes], bool] | None:
        """`send_now` for what is framed already, and not the first piece; None where the answer has no frames."""
        return self._way.write_now if self._is_chunked else None

    async def room(self) -> None:
        """Wait until a piece can be sent. Nothing happens once the caller hung up."""
        try:
            await self._way.drain()
        except trio.BrokenResourceError:
            self.gone()

    async def fail(self) -> None:
        """The application failed before it said anything."""
        self._head, self._is_chunked = None, False
        told = b"the node made a mistake; its log says more. Please report it"
        length = str(len(told)).encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", length)]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": told})

    @property
    def shows_its_end(self) -> bool:
        """Whether a caller can tell by the bytes alone that a part of the answer is missing."""
        return self._is_chunked or self._is_measured

    def _answer_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        lines = [_REASONS.get(status) or f"HTTP/1.1 {status} \r\n".encode()]
        has_length = False
        for name, value in headers:
            lower = name.lower()
            if lower == b"connection":
                self.keeps_alive = self.keeps_alive and value.lower() != b"close"
                continue
            if lower == b"transfer-encoding":
                continue
            has_length = has_length or lower == b"content-length"
            lines.append(b"%b: %b\r\n" % (lower, value))
        self._is_measured = has_length
        if not has_length and status not in _BODILESS and self.method != "HEAD":
            if self.version == "1.1":
                self._is_chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self.keeps_alive = False
        if not self.keeps_alive:
            lines.append(b"connection: close\r\n")
        elif self.version == "1.0":
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _framed(self, part: bytes, *, is_last: bool = False) -> bytes:
        head, self._head = self._head, None
        if head is None:
            assert self.is_begun or self.is_gone
            head = b""
        if self.method == "HEAD":
            part = b""
        if not self._is_chunked:
            return head + part if head else part
        return head + (framed(part) if part else b"") + (_LAST_CHUNK if is_last else b"")
