"""Quotas around the whole interface: each answer says what is left, and who has used its share up gets 429."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.gateway.guard import OwnerCheck
from node.gateway.quota import Grant, Quotas
from node.gateway.refusals import refusal
from node.views.facade import Problem


class Metered:
    """Counts requests by token, or by address for those without one that is known. `now_s` is a steady clock."""

    def __init__(
        self, app: ASGIApp, quotas: Quotas, owner: OwnerCheck, now_s: Callable[[], float]
    ) -> None:
        self._app, self._quotas, self._owner, self._now_s = app, quotas, owner, now_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        caller, per_s = self._caller(scope)
        grant = self._quotas.take(self._now_s(), caller, per_s)
        shown = _headers(grant)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *shown]
            await send(message)

        if grant.allowed:
            await self._app(scope, receive, told)
        else:
            await refusal(scope["path"], _used_up(grant))(scope, receive, told)

    def _caller(self, scope: Scope) -> tuple[str, int | None]:
        """Whose bucket, and what fills it up if not everybody's rate."""
        for name, value in scope["headers"]:
            if name == b"authorization":
                caller = self._owner.caller(value)
                if caller is not None:
                    return f"token {caller.name}", caller.quota_per_s
        client = scope.get("client")
        return (f"address {client[0]}" if client else "unknown"), None


def _headers(grant: Grant) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-ratelimit-limit", b"%d" % grant.limit),
        (b"x-ratelimit-remaining", b"%d" % grant.remaining),
        (b"x-ratelimit-reset", b"%d" % grant.reset_s),
    ]


def _used_up(grant: Grant) -> Problem:
    return Problem(
        429,
        "quota_exceeded",
        f"more requests than the node takes from one caller; wait {grant.retry_s} s",
        retry_after_s=grant.retry_s,
    )
