"""Leaving over HTTP: the daemon says good-bye to the others and ends."""

from __future__ import annotations

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node.gateway.guard import OwnerCheck
from node.gateway.reads import json_response


class LeavingDoor:
    """`stop` is what the daemon waits for."""

    def __init__(self, stop: trio.Event, owner: OwnerCheck) -> None:
        self._stop, self._owner = stop, owner

    def routes(self) -> list[Route]:
        """What is served."""
        return [Route("/api/v2/leave", self.leave, methods=["POST"])]

    async def leave(self, request: Request) -> Response:
        """Say good-bye, and end; the seat and the money on the ledger stay."""
        self._owner.require(request)
        self._stop.set()
        return json_response({"leaving": True}, 202)
