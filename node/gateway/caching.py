"""Answers that come from the cache, and those that never change once they are there."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from node.gateway.cache import Cache, Life
from node.gateway.endpoint import etag_of
from node.views.headers import HEIGHT
from node.views.records import View


def name_of(request: Request) -> str:
    """What an answer is kept under."""
    scope = request.scope
    return f"{scope['path']}?{scope['query_string'].decode('latin-1')}"


def cached_response(body: bytes, etag: str, *, hit: bool, height: int | None = None) -> Response:
    """An answer that says where it comes from; one that blocks change also says after which one it holds."""
    headers = {"X-Cache": "HIT" if hit else "MISS", "ETag": etag}
    if height is not None:
        headers[HEIGHT] = str(height)
    return Response(body, 200, headers, media_type="application/json")


class Unchanging:
    """Keeps what is final. An answer is asked for by its whole name, so that the name can't come to mean another."""

    def __init__(self, cache: Cache, now_ms: Callable[[], int]) -> None:
        self._cache, self._now_ms = cache, now_ms

    def known(self, request: Request) -> Response | None:
        """The answer to a request, if it is kept."""
        kept = self._cache.get(self._now_ms(), name_of(request))
        return None if kept is None else cached_response(kept.body, kept.etag, hit=True)

    def made(self, request: Request, view: View, *, is_final: bool) -> Response:
        """An answer that was made now; kept if it is final."""
        body = msgspec.json.encode(view)
        etag = etag_of(body)
        if is_final:
            name = name_of(request)
            self._cache.put(self._now_ms(), name, body, etag, life=Life.ITEM, subjects=())
        return cached_response(body, etag, hit=False)
