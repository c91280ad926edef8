"""`/metrics`: the caches, model servers and queue in Prometheus's text format (version 0.0.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import trio
from starlette.requests import Request
from starlette.responses import Response

from inference.breaker import BreakerState
from inference.cache import CacheFigures
from inference.engine import AnswerEngine
from inference.selection import Standing
from inference.waiting import QueueState
from node.foreman import ForemanService
from node.gateway.endpoint import Endpoint

MEDIA: Final = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[dict[str, str], float]


_OF_CACHES: Final[tuple[tuple[str, str, str, Callable[[CacheFigures], float]], ...]] = (
    ("hits_total", "counter", "Look-ups that found something.", lambda one: one.hits),
    ("misses_total", "counter", "Look-ups in vain.", lambda one: one.misses),
    ("entries", "gauge", "What is kept.", lambda one: one.entries),
    ("bytes", "gauge", "How much that is.", lambda one: one.size_bytes),
    ("max_bytes", "gauge", "How much it may be.", lambda one: one.max_bytes),
)
_OF_SERVERS: Final[tuple[tuple[str, str, Callable[[Standing], float]], ...]] = (
    ("up", "Whether its last probe went well.", lambda one: one.fault is None),
    (
        "breaker_open",
        "Whether it is left alone, as it failed too often.",
        lambda one: one.breaker is BreakerState.OPEN,
    ),
    ("requests_in_hand", "Requests of this node under way there.", lambda one: one.in_hand),
    ("models", "Models that it lists.", lambda one: len(one.models)),
)


class MetricsDoor:
    """Nothing is asked of anybody for it: servers stand as the last probe or request left them."""

    def __init__(self, models: AnswerEngine, foreman: ForemanService | None) -> None:
        self._models, self._foreman = models, foreman

    def endpoints(self) -> list[Endpoint]:
        """All that is served here."""
        about = "Caches, model servers and queue, for Prometheus."
        return [Endpoint("GET", "/metrics", self._tell, about, None, media=MEDIA)]

    async def _tell(self, _request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        lines = [
            *cache_lines(self._models.cache.figures()),
            *server_lines(self._models.standings()),
        ]
        if self._foreman is not None:
            lines += queue_lines(one.state for one in self._foreman.core.room.all())
        return Response("\n".join(lines) + "\n", media_type=MEDIA)


def cache_lines(caches: Iterable[CacheFigures]) -> Iterable[str]:
    """How full they are, and how often they helped."""
    labelled = [({"kind": one.kind, "level": one.level}, one) for one in caches]
    for name, kind, about, value in _OF_CACHES:
        samples = [(labels, value(one)) for labels, one in labelled]
        yield from metric(f"bizra_cache_{name}", kind, about, samples)
    rates = [(labels, one.hit_rate) for labels, one in labelled if one.hit_rate is not None]
    about = "The share of look-ups that found something since the start."
    yield from metric("bizra_cache_hit_ratio", "gauge", about, rates)


def server_lines(standings: Iterable[Standing]) -> Iterable[str]:
    """The model servers of this machine."""
    labelled = [({"server": one.name, "kind": one.kind.value}, one) for one in standings]
    for name, about, value in _OF_SERVERS:
        samples = [(labels, float(value(one))) for labels, one in labelled]
        yield from metric(f"bizra_model_server_{name}", "gauge", about, samples)


def queue_lines(states: Iterable[QueueState]) -> Iterable[str]:
    """The requests that wait, or waited and are still remembered."""
    counts = Counter(states)
    samples: list[Sample] = [({"state": one.value}, counts[one]) for one in QueueState]
    yield from metric("bizra_queue_requests", "gauge", "Requests in the queue.", samples)


def metric(name: str, kind: str, about: str, samples: Iterable[Sample]) -> Iterable[str]:
    """One metric with its samples; nothing without one."""
    told = [f"{name}{{{_labels(labels)}}} {_number(value)}" for labels, value in samples]
    if told:
        yield f"# HELP {name} {about}"
        yield f"# TYPE {name} {kind}"
        yield from told


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _labels(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
