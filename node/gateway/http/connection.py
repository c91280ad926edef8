"""One caller's connection: a task that reads, and one that answers request after request.

The reading task lives as long as the connection, so it notices at once when the caller hangs up,
and no request needs a task for that.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections import deque
from typing import Final
from urllib.parse import unquote_to_bytes

import httptools
import trio
from starlette.types import ASGIApp, Scope

from inference.plain_socket import PlainSocket
from node.gateway.http.exchange import Exchange

log = logging.getLogger("bizra.gateway")

_MAX_HEAD_BYTES: Final = 65_536
_MOST_WAITING_BYTES: Final = 262_144
"""Of bodies that the application has not taken; no more is read until it does."""
_MOST_WAITING: Final = 16
"""Requests that a caller sent before their turn. More in one read than this are refused."""
_WRITES_A_TURN: Final = 16
"""After so many the other tasks get their turn: a fast caller never makes a write wait."""
_STALL_S: Final = 600.0
"""A caller that takes nothing of an answer for so long is given up."""
_LINGER_S: Final = 2.0
_LINGER_BYTES: Final = 8 * 1024 * 1024
"""Read and thrown away before closing: a reset would take the answer from a caller that still sends."""


class Upgrade(Exception):  # noqa: N818  # what is asked for
    """The caller asks for another protocol. `received` is all that came of the request."""

    def __init__(self, received: bytes) -> None:
        super().__init__()
        self.received = received


class _Refused(Exception):  # noqa: N818  # says what becomes of the connection
    """What came is no HTTP that is served here."""

    def __init__(self, status: str, told: str) -> None:
        super().__init__(told)
        self.status = status


class Connection:
    """Serves one stream until it ends; a pause of `idle_s` to twice that between two requests ends it."""

    def __init__(self, app: ASGIApp, stream: PlainSocket, idle_s: float) -> None:
        self._app, self._stream, self._idle_s = app, stream, idle_s
        self._parser = httptools.HttpRequestParser(self)
        self._reading = self._new_exchange()
        self._queue: deque[Exchange] = deque()
        self._now: Exchange | None = None
        self._arrived: trio.Event | None = None
        self._room: trio.Event | None = None
        self._waiting_bytes = 0
        self._head = bytearray()
        """What came of a request whose head is not whole."""
        self._writes = self._requests = 0
        self._unsent = memoryview(b"")
        """What the caller had no room for."""
        self._is_ended = False
        self._is_closing = False
        """Whether what comes is thrown away."""
        self._refusal: _Refused | None = None
        self._upgrade: bytes | None = None
        self._is_leaving = False
        self._scope = trio.CancelScope()
        names = (stream.sock.getpeername(), stream.sock.getsockname())
        self._client, self._server = (tuple(name[:2]) for name in names)

    def leave(self) -> None:
        """End after the answer at work, at once if there is none."""
        self._is_leaving = True
        if self._now is None:
            self._scope.cancel()

    async def run(self) -> None:
        """Until the caller hangs up or is asked to. Raises `Upgrade`."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_all)
                nursery.start_soon(self._end_when_idle)
                await self._answer_all()
                nursery.cancel_scope.cancel()
        if self._upgrade is not None:
            raise Upgrade(self._upgrade)

    # Reading

    async def _read_all(self) -> None:
        left_bytes = _LINGER_BYTES
        while received := await self._receive():
            if self._is_closing:
                left_bytes -= len(received)
                if left_bytes < 0:
                    break
                continue
            try:
                self._feed(received)
            except _Refused as refused:
                self._refusal, self._is_closing = refused, True
                self._wake()
            if self._upgrade is not None:
                break
            while self._is_full():
                self._room = trio.Event()
                await self._room.wait()
        self._is_ended = True
        self._wake()
        for exchange in {*self._queue, self._reading, self._now}:
            if exchange is not None:
                exchange.gone()

    async def _receive(self) -> bytes:
        try:
            return await self._stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    def _is_full(self) -> bool:
        if self._is_closing:
            return False
        return self._waiting_bytes > _MOST_WAITING_BYTES or len(self._queue) >= _MOST_WAITING

    def _feed(self, received: bytes) -> None:
        self._head += received
        try:
            self._parser.feed_data(received)
        except httptools.HttpParserUpgrade:
            if self._is_websocket():
                # The bytes of the head are known only if it came before anything else was at work.
                if self._now is not None or self._queue or not self._head.startswith(b"GET "):
                    raise _Refused("400 Bad Request", "an upgrade before its turn") from None
                self._upgrade = bytes(self._head)
            else:
                # HTTP/2 is declined by answering in HTTP/1.1; llhttp parses no further.
                self._reading.keeps_alive = False
        except httptools.HttpParserError as error:
            raise _Refused("400 Bad Request", f"this is not HTTP/1.1: {error}") from None
        if len(self._head) > _MAX_HEAD_BYTES:
            raise _Refused("431 Request Header Fields Too Large", "the request's head is too long")

    def _is_websocket(self) -> bool:
        return any(
            name == b"upgrade" and value.lower() == b"websocket"
            for name, value in self._reading.headers
        )

    # What llhttp calls

    def on_message_begin(self) -> None:
        self._reading = self._new_exchange()

    def on_url(self, target: bytes) -> None:
        self._reading.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._reading.method:  # else it is a trailer
            self._reading.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._parser.should_upgrade() and self._is_websocket():
            return
        self._reading.begin(
            self._parser.get_method().decode("ascii"),
            self._parser.get_http_version(),
            keeps_alive=self._parser.should_keep_alive(),
        )
        self._queue.append(self._reading)
        self._head.clear()
        self._wake()

    def on_body(self, part: bytes) -> None:
        self._waiting_bytes += len(part)
        self._head.clear()
        self._reading.feed(part)

    def on_message_complete(self) -> None:
        if self._reading.method:  # else it asks for another protocol
            self._head.clear()
            self._reading.complete()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None

    def taken(self, size_bytes: int) -> None:
        """See `Way`."""
        self._waiting_bytes -= size_bytes
        self._give_room()

    def _give_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    def _new_exchange(self) -> Exchange:
        return Exchange(self)

    # Answering

    async def _answer_all(self) -> None:
        while not self._is_leaving:
            exchange = await self._next()
            if exchange is None:
                break
            self._now = exchange
            is_whole = await self._answer(exchange)
            self._now = None
            if not is_whole:
                if exchange.shows_its_end and not exchange.is_gone:
                    # A reset would also take away what has left and is not read yet, such as the reason.
                    await self._linger()
                else:
                    _reset_on_close(self._stream)
                return
            if not exchange.forget_body() or not exchange.keeps_alive or self._is_leaving:
                await self._linger()
                return
        if self._refusal is not None:
            await self._tell_refusal(self._refusal)

    async def _next(self) -> Exchange | None:
        if not self._queue and not self._is_ended and not self._is_closing:
            self._arrived = trio.Event()
            await self._arrived.wait()
        if not self._queue:
            return None
        exchange = self._queue.popleft()
        self._requests += 1
        self._give_room()
        return exchange

    async def _end_when_idle(self) -> None:
        """One look now and then costs less than a time limit around each pause."""
        while True:
            before = self._requests
            await trio.sleep(self._idle_s)
            if self._requests == before and self._now is None:
                self._wake()

    async def _answer(self, exchange: Exchange) -> bool:
        """Whether the whole answer left. If not, the connection must end as broken as the answer is."""
        try:
            await self._app(self._scope_of(exchange), exchange.receive, exchange.send)
        except Exception:
            log.exception("a request failed")
            if not exchange.is_begun:
                await exchange.fail()
        return exchange.is_answered and not exchange.is_gone

    def _scope_of(self, exchange: Exchange) -> Scope:
        path, _, query = exchange.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": exchange.version,
            "method": exchange.method,
            "scheme": "http",
            "path": (unquote_to_bytes(path) if b"%" in path else path).decode("utf-8", "replace"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": exchange.headers,
            "client": self._client,
            "server": self._server,
            "extensions": {"bizra.exchange": exchange},
        }

    async def write(self, data: bytes) -> None:
        """See `Way`."""
        if not self.write_now(data):
            await self.drain()
        self._writes += 1
        if self._writes % _WRITES_A_TURN == 0:
            await trio.lowlevel.checkpoint()

    def write_now(self, data: bytes) -> bool:
        """See `Way`."""
        assert not self._unsent
        sent = self._stream.send_now(data)
        if sent == len(data):
            return True
        self._unsent = memoryview(data)[sent:]
        return False

    async def drain(self) -> None:
        """See `Way`."""
        rest, self._unsent = self._unsent, memoryview(b"")
        if not rest:
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_after(_STALL_S) as scope:
            try:
                await self._stream.send_all(rest)
            except trio.ClosedResourceError as error:
                raise trio.BrokenResourceError from error
        if scope.cancelled_caught:
            raise trio.BrokenResourceError

    async def _tell_refusal(self, refused: _Refused) -> None:
        told = f"{refused}\n".encode()
        head = (
            f"HTTP/1.1 {refused.status}\r\ncontent-type: text/plain\r\n"
            f"content-length: {len(told)}\r\nconnection: close\r\n\r\n"
        )
        try:
            await self.write(head.encode() + told)
        except trio.BrokenResourceError:
            return
        await self._linger()

    async def _linger(self) -> None:
        """Say that no more comes, and let the caller read it before the connection closes."""
        self._is_closing = True
        self._give_room()
        try:
            self._stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        with trio.move_on_after(_LINGER_S):
            while not self._is_ended:
                self._arrived = trio.Event()
                await self._arrived.wait()


def _reset_on_close(stream: PlainSocket) -> None:
    """Let the connection end in a way that no caller takes for the end of an answer."""
    stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
