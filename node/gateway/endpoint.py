"""One HTTP operation as data: what serves it, and everything that its description says.

The router and the OpenAPI document are made from the same list of these, so neither can say what the other doesn't.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from http import HTTPStatus
from typing import Any

import trio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, request_response
from starlette.types import Receive, Scope, Send

from node.gateway.facade import Problem

Handler = Callable[[Request], Awaitable[Response]]

TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of the query or, if its name stands in the path, of that. `schema` is JSON Schema."""

    name: str
    about: str
    schema: dict[str, Any]
    example: str | int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An operation. `problems` are the codes that are its own, with their statuses."""

    method: str
    path: str
    handler: Handler
    about: str
    answer: Any
    status: int = 200
    bodies: tuple[Any, ...] = ()
    """The forms that a JSON body may have."""
    params: tuple[Param, ...] = ()
    problems: tuple[tuple[int, str], ...] = ()
    others: tuple[tuple[int, Any], ...] = ()
    """Other statuses with an answer that is no problem."""
    owner: bool = False
    idempotent: bool = False
    media: str = "application/json"
    media_in: str | None = None
    example: Any = None
    cached: bool = False
    timeout_s: float | None = TIMEOUT_S

    @property
    def query_names(self) -> frozenset[str]:
        """The parameters that may stand in the query."""
        return frozenset(one.name for one in self.params if f"{{{one.name}}}" not in self.path)


def routes_of(endpoints: Sequence[Endpoint]) -> list[Route]:
    """One route for each path, in the order in which the paths first stand."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for one in endpoints:
        by_path.setdefault(one.path, {})[one.method] = one
    return [Route(path, _Resource(methods)) for path, methods in by_path.items()]


class _Resource:
    """All methods of one path; no other path is tried for a method that it doesn't have."""

    def __init__(self, endpoints: dict[str, Endpoint]) -> None:
        self._handlers = {
            method: request_response(_guarded(one)) for method, one in endpoints.items()
        }
        if "GET" in self._handlers:
            self._handlers["HEAD"] = self._handlers["GET"]
        self._allowed = ", ".join(sorted(self._handlers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of ASGI."""
        handler = self._handlers.get(scope["method"])
        if handler is None:
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": self._allowed})
        await handler(scope, receive, send)


def _guarded(endpoint: Endpoint) -> Handler:
    """Refuse what the description doesn't have, and give up in time."""
    known, handler, timeout_s = endpoint.query_names, endpoint.handler, endpoint.timeout_s
    tagged = endpoint.method == "GET" and endpoint.media == "application/json"

    async def handle(request: Request) -> Response:
        if request.scope["query_string"]:
            _check_query(request, known)
        if timeout_s is None:
            return await handler(request)
        with trio.move_on_after(timeout_s):
            response = await handler(request)
            return _unless_known(request, response) if tagged else response
        raise Problem(
            503,
            "timeout",
            f"this was not done within {timeout_s:g} s; what was asked may still happen",
            retry_after_s=1,
        )

    return handle


def etag_of(body: bytes | memoryview) -> str:
    """What names exactly these bytes."""
    return f'"{blake2b(body, digest_size=12).hexdigest()}"'


def _unless_known(request: Request, response: Response) -> Response:
    """The answer with its name; without its body if the caller has it already."""
    if response.status_code != HTTPStatus.OK:
        return response
    etag = response.headers.get("etag")
    if etag is None:
        etag = response.headers["etag"] = etag_of(response.body)
    wanted = request.headers.get("if-none-match")
    if wanted is None:
        return response
    names = {one.strip().removeprefix("W/") for one in wanted.split(",")}
    if etag not in names and "*" not in names:
        return response
    kept = {
        name: value
        for name, value in response.headers.items()
        if name not in ("content-length", "content-type")
    }
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=kept)


def _check_query(request: Request, known: frozenset[str]) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in known:
            offered = ", ".join(sorted(known)) or "none"
            raise Problem(
                400,
                "unknown_parameter",
                f"there is no parameter {name[:64]!r} here; known are: {offered}",
            )
    if len(set(names)) != len(names):
        raise Problem(400, "bad_parameter", "a parameter stands twice in the query")
