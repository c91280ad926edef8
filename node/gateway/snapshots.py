"""Snapshots over HTTP: list them, make one, read one, take one from other members. All of it is the owner's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import trio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gossip.transfer.store import ContentError
from node.chain.snapshots import Made, NoSnapshotError, Snapshots
from node.gateway.endpoint import Endpoint, Param
from node.gateway.guard import OwnerCheck
from node.gateway.reads import json_response
from node.views.facade import Problem
from node.views.records import HeightView, SnapshotsView, SnapshotView


class SnapshotDoor:
    """One method for each deed and question."""

    def __init__(self, snapshots: Snapshots, owner: OwnerCheck) -> None:
        self._snapshots, self._owner = snapshots, owner

    def endpoints(self) -> list[Endpoint]:
        """What is served under /api/v2/snapshots."""
        path, none = "/api/v2/snapshots", (409, "no_snapshot")
        return [
            Endpoint(
                "GET", path, self.listed, "What was made and is here.", SnapshotsView, owner=True
            ),
            Endpoint(
                "POST",
                path,
                self.make,
                "Make one of the newest block.",
                SnapshotView,
                201,
                problems=(none,),
                owner=True,
                timeout_s=None,
            ),
            Endpoint(
                "POST",
                f"{path}/take",
                self.take,
                "Fetch the newest that members offer; the node then begins anew with it.",
                HeightView,
                202,
                problems=(none,),
                owner=True,
                timeout_s=None,
            ),
            Endpoint(
                "GET",
                f"{path}/{{height}}",
                self.read,
                "A snapshot as one file, proof first.",
                None,
                params=(Param("height", "Of which block.", {"type": "integer"}, 1000),),
                problems=(none, (404, "unknown_snapshot")),
                owner=True,
                media="application/octet-stream",
            ),
        ]

    async def listed(self, request: Request) -> Response:
        """What was made and is still here."""
        self._owner.require(request)
        made = tuple(map(_view, self._snapshots.listed()))
        return json_response(SnapshotsView(snapshots=made))

    async def make(self, request: Request) -> Response:
        """One of the newest block."""
        self._owner.require(request)
        try:
            made = await self._snapshots.make()
        except NoSnapshotError as error:
            raise Problem(409, "no_snapshot", str(error)) from None
        return json_response(_view(made), 201)

    async def take(self, request: Request) -> Response:
        """Fetch the newest that members offer; the node then begins anew with it."""
        self._owner.require(request)
        try:
            height = await self._snapshots.take(self._snapshots.own_height + 1)
        except NoSnapshotError as error:
            raise Problem(409, "no_snapshot", str(error)) from None
        return json_response(HeightView(height=height), 202)

    async def read(self, request: Request) -> Response:
        """A snapshot as one file, proof first."""
        self._owner.require(request)
        height = request.path_params["height"]
        found = [one for one in self._snapshots.listed() if str(one.height) == height]
        if not found:
            raise Problem(
                404, "unknown_snapshot", f"there is no snapshot of height {height[:20]} here"
            )
        pieces = self._snapshots.file(found[0])
        try:
            head = await trio.to_thread.run_sync(next, pieces)
        except (NoSnapshotError, ContentError) as error:
            raise Problem(409, "no_snapshot", str(error), retry_after_s=1) from None
        return StreamingResponse(_all(head, pieces), media_type="application/octet-stream")


async def _all(head: bytes, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    while (piece := await trio.to_thread.run_sync(next, pieces, None)) is not None:
        yield piece


def _view(made: Made) -> SnapshotView:
    return SnapshotView(height=made.height, content_id=made.content)
