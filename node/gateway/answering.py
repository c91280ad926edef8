"""An answer that is worked out while its caller listens: whoever hangs up stops the work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from node.errors import NodeError
from node.gateway.http.exchange import Exchange
from node.gateway.problems import node_error_response


class Listener:
    """The caller, to whom a stream can be sent.

    Once the head is out, nothing between here and the connection changes the rest, so it goes there directly.
    """

    def __init__(self, send: Send, exchange: Exchange | None = None) -> None:
        self._send, self._exchange = send, exchange
        self._unsent = b""
        self.has_begun = False

    async def begin(
        self, media_type: str, headers: Mapping[str, str], *, follows: bool = False
    ) -> None:
        """The head of a stream; it leaves with the first piece if that `follows` at once."""
        if self._exchange is not None:
            self._exchange.head_waits = follows
        told = {"content-type": media_type, "cache-control": "no-cache", **headers}
        self.has_begun = True
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in told.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})
        if self._exchange is not None:
            self._send = self._exchange.send

    async def write(self, data: bytes) -> None:
        """A piece of a stream; waits until the caller has room for it."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    @property
    def take(self) -> Callable[[bytes], bool]:
        """`write` without waiting; if it says no, `room` comes before anything else."""
        return self._keep if self._exchange is None else self._exchange.send_now

    @property
    def take_framed(self) -> Callable[[bytes], bool] | None:
        """`take` for what is one of HTTP's chunks already, after the first piece of a stream that consists of them."""
        return None if self._exchange is None else self._exchange.send_framed

    def _keep(self, data: bytes) -> bool:
        self._unsent += data
        return False

    async def room(self) -> None:
        """Wait until more can be taken."""
        if self._exchange is not None:
            await self._exchange.room()
        elif self._unsent:
            unsent, self._unsent = self._unsent, b""
            await self.write(unsent)

    async def end(self, data: bytes = b"") -> None:
        """The end of a stream, after a last piece."""
        await self._send({"type": "http.response.body", "body": data})


Work = Callable[[Listener], Awaitable[Response | None]]
"""Gives a whole answer, or None after having streamed one."""


class Answering(Response):
    """Runs `work`, and cancels it when the caller hangs up."""

    def __init__(self, work: Work) -> None:
        # Not as other responses: those prepare a head, and whatever `work` gives has its own.
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of ASGI."""
        exchange = scope.get("extensions", {}).get("bizra.exchange")
        if isinstance(exchange, Exchange):
            with trio.CancelScope() as stopped:
                exchange.stop_when_gone(stopped)
                try:
                    await self._respond(scope, receive, send, exchange)
                finally:
                    exchange.go_on_when_gone()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
            await self._respond(scope, receive, send)
            nursery.cancel_scope.cancel()

    async def _respond(
        self, scope: Scope, receive: Receive, send: Send, exchange: Exchange | None = None
    ) -> None:
        listener = Listener(send, exchange)
        try:
            response = await self._work(listener)
        except NodeError as error:
            if listener.has_begun:
                raise
            response = node_error_response(error)
        if response is not None:
            await response(scope, receive, send)


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
