"""One HTTP operation as data: what serves it, and everything that its description says.

The router and the OpenAPI document are made from the same list of these, so neither can say what the other doesn't.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from http import HTTPStatus
from typing import Any

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from node.errors import NodeError
from node.gateway.problems import bug_response, node_error_response, unknown_method
from node.views.facade import Problem

Handler = Callable[[Request], Awaitable[Response]]

TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of the query or, if its name stands in the path, of that. `schema` is JSON Schema."""

    name: str
    about: str
    schema: dict[str, Any]
    example: str | int | None = None


ID = Param(
    "id",
    "An id, or its first digits (four at least).",
    {"type": "string", "pattern": "^[0-9a-f]{4,64}$"},
    "29" * 32,
)


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
    media_too: str | None = None
    """Another form of the answer, which the body asks for."""
    errors: Any = None
    """The form of errors where it is not problem+json."""
    needs_body: bool = True
    """Whether a request without a body is wrong, where there may be one."""
    example: Any = None
    cached: bool = False
    upgrades: bool = False
    """Whether a WebSocket is at the same path; `asyncapi.py` describes it."""
    timeout_s: float | None = TIMEOUT_S

    @property
    def query_names(self) -> frozenset[str]:
        """The parameters that may stand in the query."""
        return frozenset(one.name for one in self.params if f"{{{one.name}}}" not in self.path)


def resources_of(endpoints: Sequence[Endpoint]) -> dict[str, ASGIApp]:
    """What serves each path, in the order in which the paths first stand."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for one in endpoints:
        by_path.setdefault(one.path, {})[one.method] = one
    return {path: _Resource(methods) for path, methods in by_path.items()}


class Exact:
    """Paths without a variable are looked up; the router tries one pattern after the other for the rest."""

    def __init__(self, resources: Mapping[str, ASGIApp], others: ASGIApp) -> None:
        self._resources = {path: one for path, one in resources.items() if "{" not in path}
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of ASGI."""
        found = self._resources.get(scope["path"]) if scope["type"] == "http" else None
        await (found or self._others)(scope, receive, send)


class Direct:
    """A route of the router's that needs no pattern; what it does not take goes to the router."""

    def __init__(self, route: Route, others: ASGIApp) -> None:
        self._endpoint: Handler = route.endpoint
        self._methods = frozenset(route.methods or ())
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of ASGI."""
        if scope["method"] in self._methods:
            await _answer(self._endpoint, scope, receive, send)
        else:
            await self._others(scope, receive, send)


class _Resource:
    """All methods of one path; no other path is tried for a method that it doesn't have.

    It answers its own errors: Starlette would put six layers between the connection and the handler for that.
    """

    def __init__(self, endpoints: dict[str, Endpoint]) -> None:
        self._handlers = {method: _guarded(one) for method, one in endpoints.items()}
        if "GET" in self._handlers:
            self._handlers["HEAD"] = self._handlers["GET"]
        self._allowed = ", ".join(sorted(self._handlers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of ASGI."""
        handler = self._handlers.get(scope["method"])
        if handler is None:
            await unknown_method(scope, self._allowed)(scope, receive, send)
        else:
            await _answer(handler, scope, receive, send)


async def _answer(handler: Handler, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        response = await handler(Request(scope, receive, send))
    except NodeError as error:
        response = node_error_response(error)
    except Exception:
        await bug_response()(scope, receive, send)
        raise
    await response(scope, receive, send)


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
