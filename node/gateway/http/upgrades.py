"""WebSocket connections: Hypercorn serves them, from the first byte of the request that asked for one."""

from __future__ import annotations

import logging
from typing import Any, Final, cast

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.types import ASGIApp

from inference.plain_socket import PlainSocket

_PING_S: Final = 30.0
_MAX_MESSAGE_BYTES: Final = 1024 * 1024


class _Replayed:
    """A stream whose first bytes were read before."""

    def __init__(self, plain: PlainSocket, received: bytes) -> None:
        self.socket = trio.socket.from_stdlib_socket(plain.sock)
        self._stream, self._received = trio.SocketStream(self.socket), received

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._received:
            received, self._received = self._received, b""
            return received
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def serve_upgraded(app: ASGIApp, stream: PlainSocket, received: bytes) -> None:
    """Until the connection ends. `received` is all that was read of it."""
    config = Config()
    config.errorlog = logging.getLogger("bizra.gateway")
    config.include_server_header = False
    config.websocket_ping_interval = _PING_S
    config.websocket_max_message_size = _MAX_MESSAGE_BYTES
    replayed = cast("Any", _Replayed(stream, received))
    state = ConnectionState({})
    await TCPServer(ASGIWrapper(cast("Any", app)), config, WorkerContext(None), state, replayed)
