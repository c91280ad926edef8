"""What happens, as it happens: `/api/v2/events` as a WebSocket and as server-sent events.

Both go on behind a cursor (`?after=`, or `Last-Event-ID` for server-sent events). A caller that doesn't read what it is
sent is cut off: `{"event": "cut", "cursor": ..., "reason": ...}` is the last it gets, if it still reads that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import trio
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from consensus.ledger.event_log import Cursor
from gossip.codec import Digest
from node.chain.event_hub import (
    EventHub,
    Notice,
    Subscription,
    TooManySubscribersError,
    Topic,
    Wish,
)
from node.gateway.answering import Answering, Listener
from node.gateway.fields import resolve
from node.gateway.lists import read_cursor
from node.gateway.problems import problem_response
from node.views.facade import Facade, Named, Problem

HEARTBEAT_S = 15
SEND_S = 10
"""How long a caller may take to accept what it is sent."""
_TOPICS = {
    "transaction": (Topic.TRANSACTION, Named.TRANSACTION),
    "account": (Topic.ACCOUNT, Named.ACCOUNT),
    "task": (Topic.TASK, Named.TASK),
}
_TOO_SLOW, _BUSY, _REFUSED = 4408, 1013, 4400


class EventDoor:
    """Server-sent events and WebSocket."""

    def __init__(self, facade: Facade, hub: EventHub) -> None:
        self._facade, self._hub = facade, hub

    async def stream(self, request: Request) -> Response:
        """Server-sent events until the caller hangs up."""
        wish, after = self._wish(request)
        last = request.headers.get("last-event-id")
        if last is not None:
            after = read_cursor(last)

        async def send(listener: Listener) -> Response | None:
            try:
                with self._hub.subscribed(wish, after) as subscription:
                    self._begin(subscription, after)
                    await listener.begin("text/event-stream", {})
                    async for part in _sse(subscription):
                        with trio.move_on_after(SEND_S) as patience:
                            await listener.write(part)
                        if patience.cancelled_caught:
                            break
                    await listener.end()
            except TooManySubscribersError:
                return problem_response(_too_many())
            return None

        return Answering(send)

    async def socket(self, socket: WebSocket) -> None:
        """A WebSocket: one JSON object for each notice, or with `?batch=1` arrays of them."""
        try:
            wish, after = self._wish(socket)
            with self._hub.subscribed(wish, after) as subscription:
                self._begin(subscription, after)
                await socket.accept()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_until_closed, socket, nursery.cancel_scope)
                    await self._serve(socket, subscription)
                    nursery.cancel_scope.cancel()
        except Problem as problem:
            await _refuse(socket, _REFUSED, f"{problem.code}: {problem.detail}")
        except TooManySubscribersError:
            await _refuse(socket, _BUSY, "too many subscribers")

    def _begin(self, subscription: Subscription, after: Cursor | None) -> None:
        """Who asks for one transaction, and from no cursor on, hears first where it stands."""
        wish = subscription.wish
        if after is not None or wish.topic is not Topic.TRANSACTION:
            return
        known = self._facade.transaction(Digest(wish.id))
        if known is not None:
            content = {"event": "transaction", "cursor": None, **msgspec.to_builtins(known)}
            subscription.offer(Notice("transaction", msgspec.json.encode(content), None))

    async def _serve(self, socket: WebSocket, subscription: Subscription) -> None:
        in_batches = socket.query_params.get("batch") == "1"
        while True:
            taken = await subscription.take()
            bodies = [notice.body for notice in taken]
            if in_batches:
                bodies = [b"[%b]" % b",".join(bodies)]
            with trio.move_on_after(SEND_S) as patience:
                for body in bodies:
                    await socket.send_text(body.decode())
            if patience.cancelled_caught or taken[-1].kind == "cut":
                with trio.move_on_after(1):
                    await socket.close(_TOO_SLOW, "too slow; go on behind the last cursor")
                return

    def _wish(self, connection: HTTPConnection) -> tuple[Wish, Cursor | None]:
        query = connection.query_params
        named = [name for name in _TOPICS if name in query]
        if len(named) > 1:
            raise Problem(400, "bad_parameter", f"give one of {', '.join(_TOPICS)}, or none")
        after = read_cursor(query["after"]) if "after" in query else None
        if after is not None and after > self._hub.end:
            raise Problem(
                400, "bad_cursor", f"after: the log ends at height {self._hub.end.height}"
            )
        first = self._hub.first_height
        if after is not None and first > 1 and after < Cursor.end_of(first - 1):
            raise Problem(
                410,
                "cursor_gone",
                f"the log here begins at height {first}, for this node began with a snapshot; "
                "ask a node that has all blocks, or go on from there",
            )
        if not named:
            return Wish(), after
        topic, what = _TOPICS[named[0]]
        return Wish(topic, Digest(resolve(self._facade, query[named[0]], what))), after


async def _sse(subscription: Subscription) -> AsyncIterator[bytes]:
    while True:
        taken: list[Notice] = []
        with trio.move_on_after(HEARTBEAT_S):
            taken = await subscription.take()
        yield b"".join(map(_framed, taken)) or b": still here\n\n"
        if taken and taken[-1].kind == "cut":
            return


def _framed(notice: Notice) -> bytes:
    name = b"" if notice.cursor is None else f"id: {notice.cursor}\n".encode()
    return name + b"event: " + notice.kind.encode() + b"\ndata: " + notice.body + b"\n\n"


async def _until_closed(socket: WebSocket, scope: trio.CancelScope) -> None:
    """Whatever a subscriber says is skipped, until it goes."""
    while True:
        try:
            await socket.receive()
        except (WebSocketDisconnect, RuntimeError):
            scope.cancel()
            return


async def _refuse(socket: WebSocket, code: int, reason: str) -> None:
    """A browser can't read a refused handshake, so the reason goes into the closing frame."""
    await socket.accept()
    await socket.close(code, reason[:120])


def _too_many() -> Problem:
    return Problem(
        503, "too_many_subscribers", "too many listen already; try again later", retry_after_s=5
    )
