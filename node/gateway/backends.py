"""The model servers over HTTP: who may see them is anyone on this machine, who may change them is the owner."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from node.gateway.endpoint import Endpoint, Param
from node.gateway.fields import MAX_BODY_BYTES, read_body
from node.gateway.guard import OwnerCheck
from node.gateway.reads import json_response
from node.gateway.requests import BackendRequest
from node.models.backends import Backends
from node.views.facade import Problem
from node.views.records import BackendsView, BackendView, JsonObject


class BackendsDoor:
    """`/api/v2/backends`."""

    def __init__(self, backends: Backends, owner: OwnerCheck) -> None:
        self._backends, self._owner = backends, owner

    def endpoints(self) -> list[Endpoint]:
        """All that is served here."""
        path = "/api/v2/backends"
        return [
            Endpoint(
                "GET", path, self._list, "The model servers, and how they stand.", BackendsView
            ),
            Endpoint(
                "POST",
                path,
                self._add,
                "Ask one more server.",
                BackendView,
                201,
                (BackendRequest,),
                problems=((409, "name_taken"), (409, "too_many"), (422, "bad_field")),
                owner=True,
                example={"name": "gpu", "url": "http://127.0.0.1:8000/v1", "kind": "openai"},
            ),
            Endpoint(
                "DELETE",
                f"{path}/{{name}}",
                self._remove,
                "Ask it no more.",
                None,
                204,
                params=(Param("name", "The server's name.", {"type": "string"}, "gpu"),),
                problems=((404, "unknown_backend"),),
                owner=True,
            ),
        ]

    async def _list(self, _request: Request) -> Response:
        return json_response(await self._backends.rows())

    async def _add(self, request: Request) -> Response:
        self._owner.require(request)
        try:
            row = msgspec.json.decode(await read_body(request, MAX_BODY_BYTES), type=JsonObject)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Problem(400, "bad_json", f"the body is no JSON object: {error}") from None
        return json_response(await self._backends.add(row), 201)

    async def _remove(self, request: Request) -> Response:
        self._owner.require(request)
        await self._backends.remove(request.path_params["name"])
        return Response(status_code=204)
