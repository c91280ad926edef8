"""The model servers over HTTP: who may see them is anyone on this machine, who may change them is the owner."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node.backends import Backends
from node.gateway.facade import Problem
from node.gateway.fields import MAX_BODY_BYTES, read_body
from node.gateway.guard import OwnerCheck
from node.gateway.reads import json_response
from node.gateway.views import JsonObject


class BackendsDoor:
    """`/api/v2/backends`."""

    def __init__(self, backends: Backends, owner: OwnerCheck) -> None:
        self._backends, self._owner = backends, owner

    def routes(self) -> list[Route]:
        """All that is served here."""
        return [
            Route("/api/v2/backends", self._list),
            Route("/api/v2/backends", self._add, methods=["POST"]),
            Route("/api/v2/backends/{name}", self._remove, methods=["DELETE"]),
        ]

    async def _list(self, _request: Request) -> Response:
        return json_response(await self._backends.rows())

    async def _add(self, request: Request) -> Response:
        self._owner.require(request)
        try:
            row = msgspec.json.decode(await read_body(request, MAX_BODY_BYTES), type=JsonObject)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Problem(400, "bad_json", f"the body is no JSON object: {error}") from None
        return json_response(self._backends.add(row), 201)

    async def _remove(self, request: Request) -> Response:
        self._owner.require(request)
        await self._backends.remove(request.path_params["name"])
        return Response(status_code=204)
