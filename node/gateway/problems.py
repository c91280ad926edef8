"""Errors as callers see them: problem+json of RFC 9457 with a code for programs beside it."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from consensus.mempool import RefusalCode, Refused
from node.errors import NodeError
from node.views.facade import Problem

_REFUSED_STATUS = {
    RefusalCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    RefusalCode.DUPLICATE: HTTPStatus.CONFLICT,
    RefusalCode.BAD_NONCE: HTTPStatus.CONFLICT,
    RefusalCode.NONCE_TAKEN: HTTPStatus.CONFLICT,
    RefusalCode.SENDER_FULL: HTTPStatus.SERVICE_UNAVAILABLE,
    RefusalCode.FULL: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""What isn't here is the caller's mistake: 422."""


BUSY = frozenset({RefusalCode.SENDER_FULL.value, RefusalCode.FULL.value})
"""Come back later."""


def refusal_problem(refused: Refused) -> Problem:
    """The mempool's answer as a problem; a full one says when to come back."""
    status = _REFUSED_STATUS.get(refused.code, HTTPStatus.UNPROCESSABLE_ENTITY)
    busy = status is HTTPStatus.SERVICE_UNAVAILABLE
    return Problem(status, refused.code.value, refused.reason, retry_after_s=1 if busy else None)


def problem_body(problem: Problem) -> bytes:
    """A problem as JSON."""
    return msgspec.json.encode(
        {
            "type": f"urn:bizra:problem:{problem.code}",
            "title": problem.title,
            "status": int(problem.status),
            "detail": problem.detail,
            "code": problem.code,
        }
    )


def problem_response(problem: Problem) -> Response:
    """The HTTP answer that tells a problem."""
    headers = {}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    if problem.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        headers["Connection"] = "close"
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        problem_body(problem),
        problem.status,
        headers,
        media_type="application/problem+json",
    )


async def on_http_error(request: Request, error: Exception) -> Response:
    """Handler of what the router refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return unknown_method(request.scope, _allowed_methods(request))
    return problem_response(
        Problem(error.status_code, "unknown_path", f"there is nothing at {path}")
    )


def unknown_method(scope: Scope, allowed: str) -> Response:
    """The answer to a method that a path doesn't have."""
    told = f"{scope['path'][:200]} takes {allowed}, not {scope['method'][:20]}"
    response = problem_response(Problem(405, "unknown_method", told))
    response.headers["Allow"] = allowed
    return response


def node_error_response(error: NodeError) -> Response:
    """The answer to a problem, or to trouble around the node, a damaged database say."""
    problem = error if isinstance(error, Problem) else Problem(500, "node_trouble", str(error))
    return problem_response(problem)


async def on_node_error(_request: Request, error: Exception) -> Response:
    """Handler of both."""
    assert isinstance(error, NodeError)
    return node_error_response(error)


def bug_response() -> Response:
    """The answer to everything else; the server logs the error itself."""
    detail = "the node made a mistake; its log says more. Please report it"
    return problem_response(Problem(500, "internal", detail))


async def on_bug(_request: Request, _error: Exception) -> Response:
    """Handler of everything else."""
    return bug_response()


def _allowed_methods(request: Request) -> str:
    matching = (
        route
        for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    )
    return ", ".join(sorted({method for route in matching for method in route.methods or ()}))
