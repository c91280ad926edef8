"""A connected TCP socket without detours: what is tried at once costs one system call and no turn of the loop.

`trio.SocketStream` yields to the other tasks at every call, a tenth of the time that a short request
takes. Here receiving always waits, which is a turn; sending doesn't unless the other side is slow:
who sends without ever receiving must yield by himself.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import trio

from inference.pump import READ_BYTES, Flow, pump_each


class PlainSocket:
    """Takes the socket over. One task may receive while another one sends."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)  # noqa: FBT003 - the socket's own interface
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._flow: Flow | None = None

    async def receive_some(self, max_bytes: int = READ_BYTES) -> bytes:
        """At least a byte; none at the end. Raises `trio.BrokenResourceError`, `trio.ClosedResourceError`."""
        while True:
            await trio.lowlevel.wait_readable(self._open().fileno())
            try:
                return self.sock.recv(max_bytes)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError from error

    async def receive_each(self, take: Callable[[bytes], bool]) -> None:
        """Give what comes to `take`, nothing at the end, until that says no. Raises as `receive_some` does.

        For what comes in small pieces over a long time: `take` is called in the thread of `inference/pump.py`.
        """
        await pump_each(self._open(), take, self._set_flow)

    def _set_flow(self, flow: Flow | None) -> None:
        self._flow = flow

    def send_now(self, data: bytes) -> int:
        """How much of it the other side has room for. Where nobody reads, there is none: `send_all` says why."""
        try:
            return self.sock.send(data, socket.MSG_DONTWAIT)
        except OSError:
            return 0

    async def send_all(self, data: bytes | memoryview) -> None:
        """Waits while the other side has no room. Raises as `receive_some` does."""
        sent = self._send(self._open(), data)
        if sent == len(data):
            return
        view = memoryview(data)
        while sent < len(data):
            await trio.lowlevel.wait_writable(self._open().fileno())
            sent += self._send(self.sock, view[sent:])

    def _send(self, sock: socket.socket, data: bytes | memoryview) -> int:
        try:
            return sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError from error

    def is_quiet(self) -> bool:
        """Whether nothing has come, not even the end."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def send_eof(self) -> None:
        """Nothing more will be sent. Raises `trio.BrokenResourceError`."""
        try:
            self._open().shutdown(socket.SHUT_WR)
        except OSError as error:
            raise trio.BrokenResourceError from error

    def close(self) -> None:
        """Tasks that wait for it are told."""
        if self.sock.fileno() >= 0:
            if self._flow is not None:
                self._flow.end(trio.ClosedResourceError())
            trio.lowlevel.notify_closing(self.sock.fileno())
            self.sock.close()

    def _open(self) -> socket.socket:
        if self.sock.fileno() < 0:
            raise trio.ClosedResourceError
        return self.sock


async def connect(host: str, port: int) -> PlainSocket:
    """To the first address of the host that takes it. Raises `OSError`."""
    stream = await trio.open_tcp_stream(host, port)
    return PlainSocket(socket.socket(fileno=stream.socket.detach()))
