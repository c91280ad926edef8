"""Contents over HTTP: bytes of any size, named by their hash, that members fetch from each other.

All of it is the owner's: whoever knows a content's name can fetch it, so names are not for everybody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gossip.codec import Digest
from gossip.identity import NodeId
from gossip.transfer.service import ContentService, Progress
from gossip.transfer.store import ContentError, Held, StoreFullError
from node.gateway.endpoint import ID, Endpoint
from node.gateway.fields import MAX_BODY_BYTES, WHOLE_ID, Fields, pick, read_body
from node.gateway.guard import OwnerCheck
from node.gateway.reads import json_response
from node.gateway.requests import FetchRequest
from node.views.facade import Facade, Named, Problem
from node.views.records import ContentsView, ContentView, FetchView

_TELL_S = 0.5


class ContentDoor:
    """One method for each deed and question."""

    def __init__(self, facade: Facade, contents: ContentService, owner: OwnerCheck) -> None:
        self._facade, self._contents, self._owner = facade, contents, owner

    def endpoints(self) -> list[Endpoint]:
        """What is served under /api/v2/contents."""
        path, unknown = "/api/v2/contents", (404, "unknown_content")
        return [
            Endpoint("GET", path, self.listed, "What is in the store.", ContentsView, owner=True),
            Endpoint(
                "POST",
                path,
                self.add,
                "Take the body in, of any size.",
                ContentView,
                201,
                problems=((507, "store_full"), (500, "store_failed")),
                owner=True,
                media_in="application/octet-stream",
                needs_body=False,
                timeout_s=None,
            ),
            Endpoint(
                "GET",
                f"{path}/{{id}}",
                self.read,
                "The bytes of a content that is here.",
                None,
                params=(ID,),
                problems=(unknown, (409, "incomplete")),
                owner=True,
                media="application/octet-stream",
            ),
            Endpoint(
                "DELETE",
                f"{path}/{{id}}",
                self.remove,
                "Forget it here.",
                ContentView,
                params=(ID,),
                problems=(unknown,),
                owner=True,
            ),
            Endpoint(
                "POST",
                f"{path}/{{id}}/fetch",
                self.fetch,
                "Bring it here from members; a line of JSON now and then.",
                None,
                bodies=(FetchRequest,),
                params=(ID,),
                problems=(unknown, (404, "unknown_node")),
                owner=True,
                media="application/x-ndjson",
                needs_body=False,
                example={"keep": True},
            ),
        ]

    async def listed(self, request: Request) -> Response:
        """What is in the store."""
        self._owner.require(request)
        store = self._contents.store
        held = tuple(map(_view, store.listed()))
        return json_response(
            ContentsView(contents=held, used_bytes=store.used_bytes, max_bytes=store.max_bytes)
        )

    async def add(self, request: Request) -> Response:
        """Take the body in as a content, and keep it."""
        self._owner.require(request)
        parts = request.stream()

        def pieces() -> Iterator[bytes]:
            """In a thread, while the loop goes on."""
            while (piece := trio.from_thread.run(_next_part, parts)) is not None:
                yield piece

        def take() -> Digest:
            return self._contents.store.add(pieces(), keep=True)

        try:
            name = await trio.to_thread.run_sync(take)
        except StoreFullError as error:
            raise Problem(507, "store_full", str(error)) from None
        except ContentError as error:
            raise Problem(500, "store_failed", str(error)) from None
        held = self._contents.store.find(name)
        assert held is not None
        return json_response(_view(held), 201)

    async def read(self, request: Request) -> Response:
        """The bytes of a content that is here."""
        self._owner.require(request)
        held = self._named(request)
        if not held.is_complete:
            raise Problem(
                409,
                "incomplete",
                f"{held.present_bytes} of {held.manifest.size_bytes} bytes are here; "
                "fetch the content first",
            )
        return StreamingResponse(
            self._bytes_of(held),
            media_type="application/octet-stream",
            headers={"Content-Length": str(held.manifest.size_bytes)},
        )

    async def _bytes_of(self, held: Held) -> AsyncIterator[bytes]:
        chunks = self._contents.store.read(held.name)
        while (chunk := await trio.to_thread.run_sync(next, chunks, None)) is not None:
            yield chunk

    async def remove(self, request: Request) -> Response:
        """Forget a content here; other nodes' copies stay."""
        self._owner.require(request)
        held = self._named(request)
        await trio.to_thread.run_sync(self._contents.store.remove, held.name)
        return json_response(_view(held))

    async def fetch(self, request: Request) -> Response:
        """Bring a content here from other members; tells how far it is, a line of JSON at a time."""
        self._owner.require(request)
        fields = Fields(await read_body(request, MAX_BODY_BYTES) or b"{}", self._facade)
        peers = [NodeId(fields.id("from", Named.NODE))] if fields.has("from") else None
        keep = fields.flag("keep")
        fields.drop("from", "keep")
        fields.done()
        name = self._full_name(request)
        lines = self._fetching(name, peers, keep=keep)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def _fetching(
        self, name: Digest, peers: list[NodeId] | None, *, keep: bool
    ) -> AsyncIterator[bytes]:
        progress, into = Progress(), _Line()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fetch, name, peers, keep, progress, into)
            while not into.ended.is_set():
                with trio.move_on_after(_TELL_S):
                    await into.ended.wait()
                yield _line(name, progress, done=into.done, reason=into.reason)

    async def _fetch(
        self,
        name: Digest,
        peers: list[NodeId] | None,
        keep: bool,  # noqa: FBT001 - passed through a nursery
        progress: Progress,
        into: _Line,
    ) -> None:
        try:
            await self._contents.fetch(name, peers, keep=keep, progress=progress)
            into.done = True
        except ContentError as error:
            into.reason = str(error)
        into.ended.set()

    def _named(self, request: Request) -> Held:
        """The content in the path; its name may be cut to its first digits."""
        known = {one.name.hex(): one for one in self._contents.store.listed()}
        return known[pick(request.path_params["id"], "content", known).hex()]

    def _full_name(self, request: Request) -> Digest:
        """The same, or a whole name that is not here yet."""
        digits = request.path_params["id"].lower()
        if WHOLE_ID.fullmatch(digits):
            return Digest(bytes.fromhex(digits))
        return self._named(request).name


class _Line:
    """What a fetch has come to."""

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.done = False
        self.reason: str | None = None


async def _next_part(parts: AsyncIterator[bytes]) -> bytes | None:
    return await anext(parts, None)


def _view(held: Held) -> ContentView:
    return ContentView(
        content_id=held.name.hex(),
        size_bytes=held.manifest.size_bytes,
        present_bytes=held.present_bytes,
        kept=held.kept,
    )


def _line(name: Digest, progress: Progress, *, done: bool, reason: str | None) -> bytes:
    view = FetchView(
        content_id=name.hex(),
        size_bytes=progress.size_bytes,
        present_bytes=progress.present_bytes,
        wire_bytes=progress.wire_bytes,
        sources={peer.hex(): size for peer, size in progress.sources.items()},
        dropped={peer.hex(): why for peer, why in progress.dropped.items()},
        done=done,
        reason=reason,
    )
    return msgspec.json.encode(view) + b"\n"
