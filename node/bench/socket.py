"""A WebSocket for binary messages that are each answered with JSON."""

from __future__ import annotations

from collections import deque
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, Event, Ping, Request, TextMessage

from node.bench.load import LoadError

_READ_BYTES = 65_536


class BinarySocket:
    """One task may send while another receives."""

    def __init__(self, url: str, path: str) -> None:
        self._where, self._path = urlsplit(url), path
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._answers: deque[dict[str, Any]] = deque()
        self._text: list[str] = []
        self._is_open = False
        self._sending = trio.Lock()

    async def __aenter__(self) -> Self:
        assert self._where.hostname is not None
        assert self._where.port is not None
        self._stream = await trio.open_tcp_stream(self._where.hostname, self._where.port)
        await self._send(Request(host=self._where.netloc, target=self._path))
        while not self._is_open:
            await self._read()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stream.aclose()

    async def send(self, body: bytes) -> None:
        """A message."""
        await self._send(BytesMessage(data=body))

    async def _send(self, event: Event) -> None:
        async with self._sending:
            await self._stream.send_all(self._protocol.send(event))

    async def receive(self) -> dict[str, Any]:
        """The next answer."""
        while not self._answers:
            await self._read()
        return self._answers.popleft()

    async def _read(self) -> None:
        received = await self._stream.receive_some(_READ_BYTES)
        if not received:
            raise LoadError("the node closed the stream of submissions")
        self._protocol.receive_data(received)
        for event in self._protocol.events():
            match event:
                case AcceptConnection():
                    self._is_open = True
                case TextMessage():
                    self._text.append(event.data)
                    if event.message_finished:
                        self._answers.append(msgspec.json.decode("".join(self._text)))
                        self._text.clear()
                case Ping():
                    await self._send(event.response())
                case _:
                    raise LoadError(f"the stream of submissions ended: {event}")
