"""Who may speak to the gateway at all, and who may act in the node's name.

A page in the owner's browser can reach loopback too: by its own scripts (told by `Origin`) or after
rebinding its name to 127.0.0.1 (told by `Host`). Both are refused before anything is routed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hmac import compare_digest
from ipaddress import ip_address

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from node.gateway.refusals import refusal
from node.tokens import OWNER, Tokens, TokenScope, scope_of
from node.views.facade import Problem

_BEARER = "Bearer "
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


@dataclass(frozen=True, slots=True)
class Caller:
    """Who shows a token that is known. `quota_per_s` is None for everybody's."""

    name: str
    scopes: frozenset[TokenScope]
    quota_per_s: int | None = None


_OWNER = Caller(OWNER, frozenset(TokenScope))


class OwnerCheck:
    """Knows the owner's token, and those that the owner gave to other programs."""

    def __init__(self, token: str, tokens: Tokens | None = None) -> None:
        self._expected = f"{_BEARER}{token}".encode()
        self._tokens = tokens

    def caller(self, authorization: bytes) -> Caller | None:
        """Whose token a header carries; None if it is nobody's."""
        if compare_digest(authorization, self._expected):
            return _OWNER
        secret = authorization.removeprefix(_BEARER.encode())
        token = None if self._tokens is None else self._tokens.find(secret)
        if token is None:
            return None
        return Caller(token.name, frozenset(token.scopes), token.quota_per_s)

    def require(self, request: Request) -> str:
        """The caller's name. Raises `Problem` unless its token may do what the request's path is for."""
        given = request.headers.get("authorization", "")
        if not given:
            raise Problem(
                401,
                "token_missing",
                "this acts in the node's name: send `Authorization: Bearer` with the token "
                "in the file `token` of its home",
            )
        caller = self.caller(given.encode("utf-8", "replace"))
        if caller is None:
            raise Problem(
                401,
                "token_wrong",
                "this is neither the token in the file `token` of the node's home nor one that "
                "`bizra-node token list` shows",
            )
        needed = scope_of(request.scope["path"])
        if caller is _OWNER or needed in caller.scopes:
            return caller.name
        raise Problem(
            403,
            "token_scope",
            f"the token {caller.name!r} may not do this: "
            + ("only the owner's may" if needed is None else f"it needs the scope {needed.value}"),
        )
