"""The caches of answers over HTTP: how full they are and how often they help; the owner may empty them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from inference.answer_cache import AnswerCache
from node.gateway.guard import OwnerCheck
from node.gateway.reads import json_response
from node.gateway.views import CachesView, CacheView


class CachesDoor:
    """`/api/v2/caches`."""

    def __init__(self, cache: AnswerCache, owner: OwnerCheck) -> None:
        self._cache, self._owner = cache, owner

    def routes(self) -> list[Route]:
        """All that is served here."""
        return [
            Route("/api/v2/caches", self._show),
            Route("/api/v2/caches", self._clear, methods=["DELETE"]),
        ]

    async def _show(self, _request: Request) -> Response:
        return json_response(self._view())

    async def _clear(self, request: Request) -> Response:
        self._owner.require(request)
        self._cache.clear()
        return json_response(self._view())

    def _view(self) -> CachesView:
        return CachesView(
            caches=tuple(
                CacheView(
                    kind=one.kind,
                    level=one.level,
                    entries=one.entries,
                    size_bytes=one.size_bytes,
                    max_bytes=one.max_bytes,
                    life_s=one.life_s,
                    hits=one.hits,
                    misses=one.misses,
                    hit_rate=one.hit_rate,
                )
                for one in self._cache.figures()
            )
        )
