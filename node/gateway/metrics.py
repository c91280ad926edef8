"""`/metrics`: consensus, caches, model servers and queue in Prometheus's text format (version 0.0.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import trio
from starlette.requests import Request
from starlette.responses import Response

from inference.breaker import BreakerState
from inference.cache import CacheFigures
from inference.engine import AnswerEngine
from inference.selection import Standing
from inference.waiting import QueueState
from node.gateway.endpoint import Endpoint
from node.views.facade import Facade
from node.views.records import StatusView
from node.work.foreman import ForemanService

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


_OF_CONSENSUS: Final[tuple[tuple[str, str, Callable[[StatusView], float]], ...]] = (
    ("height", "The last block that was executed here.", lambda one: one.height),
    ("epoch", "The validator set that decides the next block.", lambda one: one.epoch),
    ("view", "How many leaders of this epoch were given up.", lambda one: one.view),
    ("votes", "Whether this node votes.", lambda one: one.voting == "yes"),
    ("pending_transactions", "What waits for a block.", lambda one: one.pending_transactions),
)


class ConsensusTraffic(Protocol):
    """What consensus has sent, by kind, one for each receiver."""

    sent: Counter[str]


class MetricsDoor:
    """Nothing is asked of anybody for it: servers stand as the last probe or request left them."""

    def __init__(
        self,
        facade: Facade,
        models: AnswerEngine,
        foreman: ForemanService | None,
        traffic: ConsensusTraffic | None,
    ) -> None:
        self._facade, self._models = facade, models
        self._foreman, self._traffic = foreman, traffic

    def endpoints(self) -> list[Endpoint]:
        """All that is served here."""
        about = "Consensus, caches, model servers and queue, for Prometheus."
        return [Endpoint("GET", "/metrics", self._tell, about, None, media=MEDIA)]

    async def _tell(self, _request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        lines = [
            *consensus_lines(self._facade.status(), self._traffic),
            *cache_lines(self._models.cache.figures()),
            *server_lines(self._models.standings()),
        ]
        if self._foreman is not None:
            lines += queue_lines(one.state for one in self._foreman.core.room.all())
        return Response("\n".join(lines) + "\n", media_type=MEDIA)


def consensus_lines(status: StatusView, traffic: ConsensusTraffic | None) -> Iterable[str]:
    """Where the node stands, what it has sent, and what it has refused of whatever peers sent."""
    for name, about, value in _OF_CONSENSUS:
        yield from metric(f"bizra_consensus_{name}", "gauge", about, [({}, float(value(status)))])
    refused = Counter[str]()
    for one in status.refused:
        refused[one.reason] += one.count
    sent = Counter[str]() if traffic is None else traffic.sent
    for name, about, label, counts in (
        ("consensus_sent", "Messages to peers, one for each receiver.", "kind", sent),
        ("refused", "Messages of peers that changed nothing.", "reason", refused),
    ):
        samples = [({label: one}, float(count)) for one, count in sorted(counts.items())]
        yield from metric(f"bizra_{name}_total", "counter", about, samples)


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
