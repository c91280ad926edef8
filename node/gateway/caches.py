"""The caches of answers over HTTP: how full they are and how often they help; the owner may empty them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from inference.answer_cache import AnswerCache
from node.gateway.endpoint import Endpoint
from node.gateway.guard import OwnerCheck
from node.gateway.reads import json_response
from node.views.records import CachesView, CacheView


class CachesDoor:
    """`/api/v2/caches`."""

    def __init__(self, cache: AnswerCache, owner: OwnerCheck) -> None:
        self._cache, self._owner = cache, owner

    def endpoints(self) -> list[Endpoint]:
        """All that is served here."""
        path = "/api/v2/caches"
        return [
            Endpoint("GET", path, self._show, "How full the caches of answers are.", CachesView),
            Endpoint("DELETE", path, self._clear, "Forget all of them.", CachesView, owner=True),
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
