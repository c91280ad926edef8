"""Leaving over HTTP: the daemon says good-bye to the others and ends."""

from __future__ import annotations

import trio
from starlette.requests import Request
from starlette.responses import Response

from node.gateway.endpoint import Endpoint
from node.gateway.guard import OwnerCheck
from node.gateway.reads import json_response
from node.views.records import LeavingView


class LeavingDoor:
    """`stop` is what the daemon waits for."""

    def __init__(self, stop: trio.Event, owner: OwnerCheck) -> None:
        self._stop, self._owner = stop, owner

    def endpoints(self) -> list[Endpoint]:
        """What is served."""
        about = "Say good-bye to the others, and end the daemon."
        path = "/api/v2/leave"
        return [Endpoint("POST", path, self.leave, about, LeavingView, 202, owner=True)]

    async def leave(self, request: Request) -> Response:
        """Say good-bye, and end; the seat and the money on the ledger stay."""
        self._owner.require(request)
        self._stop.set()
        return json_response(LeavingView(leaving=True), 202)
