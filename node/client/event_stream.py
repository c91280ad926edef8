"""A node's events as they happen, over its WebSocket, under Trio or asyncio."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import anyio
import msgspec
from anyio.abc import SocketStream
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import RemoteProtocolError

from node.client.answers import NotReachableError, RefusedError
from node.views.happenings import Happening

_CONNECT_S = 10
_READ_BYTES = 65_536
_TOO_SLOW = 4408


_decoder = msgspec.json.Decoder(list[Happening])


class EventStream:
    """An open subscription. Iterate over it; it ends with `cut` if this side is too slow.

    `cursor` is the place of the last final event that was handed out: subscribe behind it to go on.
    """

    def __init__(self, url: str, query: str) -> None:
        self._url, self._query = url, query
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._ready: deque[Happening] = deque()
        self._text: list[str] = []
        self._is_open = False
        self.cursor: str | None = None

    async def __aenter__(self) -> Self:
        where = urlsplit(self._url)
        assert where.hostname is not None
        assert where.port is not None
        try:
            with anyio.fail_after(_CONNECT_S):
                self._stream: SocketStream = await anyio.connect_tcp(where.hostname, where.port)
                await self._subscribe(where.netloc)
        except (OSError, TimeoutError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            raise NotReachableError(
                f"the daemon at {self._url} does not take subscribers ({error!r})"
            ) from None
        return self

    async def _subscribe(self, host: str) -> None:
        target = f"/api/v2/events?batch=1{self._query}"
        try:
            await self._stream.send(self._protocol.send(Request(host=host, target=target)))
            while not self._is_open:
                await self._receive()
        except BaseException:
            await anyio.aclose_forcefully(self._stream)
            raise

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await anyio.aclose_forcefully(self._stream)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Happening:
        while not self._ready:
            if not self._is_open:
                raise StopAsyncIteration
            try:
                await self._receive()
            except (anyio.BrokenResourceError, anyio.EndOfStream):
                self._is_open = False
        happening = self._ready.popleft()
        self.cursor = happening.cursor or self.cursor
        return happening

    async def _receive(self) -> None:
        self._protocol.receive_data(await self._stream.receive(_READ_BYTES))
        try:
            for event in self._protocol.events():
                await self._take(event)
        except RemoteProtocolError as error:
            raise RefusedError(
                0, "not_understood", f"what answers at {self._url} is no node ({error})"
            ) from None

    async def _take(self, event: object) -> None:
        match event:
            case AcceptConnection():
                self._is_open = True
            case RejectConnection():
                raise RefusedError(
                    event.status_code, "refused", f"HTTP {event.status_code}: not a subscriber"
                )
            case TextMessage():
                self._text.append(event.data)
                if event.message_finished:
                    self._ready += _decoder.decode("".join(self._text))
                    self._text.clear()
            case Ping():
                await self._stream.send(self._protocol.send(event.response()))
            case CloseConnection():
                self._is_open = False
                if event.code != _TOO_SLOW and event.reason:
                    code, _, detail = event.reason.partition(": ")
                    raise RefusedError(event.code, code, detail or event.reason)
            case _:
                pass
