"""Who may speak to the gateway at all, and who may act in the node's name.

A page in the owner's browser can reach loopback too: by its own scripts (told by `Origin`) or after
rebinding its name to 127.0.0.1 (told by `Host`). Both are refused before anything is routed.
"""

from __future__ import annotations

from collections.abc import Sequence
from hmac import compare_digest
from ipaddress import ip_address

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from node.gateway.facade import Problem
from node.gateway.refusals import refusal

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address to listen on."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Lets requests through that name this node as `Host` and come from no other `Origin`."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._hosts = _LOOPBACK | {host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        problem = self._fault(scope["headers"])
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await refusal(scope["path"], problem)(scope, receive, send)

    def _fault(self, headers: Sequence[tuple[bytes, bytes]]) -> Problem | None:
        named = [value for name, value in headers if name == b"host"]
        host = named[0].decode("latin-1").lower() if len(named) == 1 else ""
        if _without_port(host) not in self._hosts:
            return Problem(
                403,
                "wrong_host",
                "the Host header must name this node: 127.0.0.1, localhost or [::1]",
            )
        allowed = b"http://" + named[0].lower()
        if any(name == b"origin" and value.lower() != allowed for name, value in headers):
            return Problem(403, "wrong_origin", "pages of other sites may not use this node")
        return None


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


class OwnerCheck:
    """Knows the owner's token."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    def is_owner(self, authorization: bytes) -> bool:
        """Whether a header carries the owner's token."""
        return compare_digest(authorization, self._expected)

    def require(self, request: Request) -> None:
        """Raises `Problem` unless the request carries the owner's token."""
        given = request.headers.get("authorization", "")
        if not given:
            raise Problem(
                401,
                "token_missing",
                "this acts in the node's name: send `Authorization: Bearer` with the token "
                "in the file `token` of its home",
            )
        if not self.is_owner(given.encode("utf-8", "replace")):
            raise Problem(
                401, "token_wrong", "this is not the token in the file `token` of the node's home"
            )
