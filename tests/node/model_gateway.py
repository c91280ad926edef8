"""A node whose gateway has model servers behind it, and the clients that others wrote in front."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from openai import AsyncOpenAI, OpenAI

from inference.backends.embedded import EmbeddedServer
from inference.backends.ollama import OllamaServer
from inference.backends.openai import OpenAiServer
from inference.backends.router import ModelRouter
from inference.backends.servers import Server, ServerSettings
from inference.breaker import BreakerChanged, BreakerLimits
from inference.embedded.backend import EmbeddedBackend
from inference.retry import RetryPolicy
from inference.selection import ServerKind
from node.models.backends import Backends
from node.storage.home import Home
from tests.inference.servers import ModelServer
from tests.node.alone import serving

QUICK = RetryPolicy(first_pause_ms=1)
"""The table with pauses of milliseconds."""


@dataclass
class ModelGateway:
    url: str
    http: httpx2.AsyncClient
    openai: AsyncOpenAI
    waiting: OpenAI
    """The client for threads: the other one leaves its generators open when a stream ends."""
    breakers: list[tuple[str, BreakerChanged]]
    backends: Backends


def reached(server: ModelServer, name: str, timeout_s: float = 10.0) -> Server:
    settings = ServerSettings(
        name=name, url=server.url, kind=ServerKind(server.protocol), timeout_s=timeout_s
    )
    if settings.kind is ServerKind.OLLAMA:
        return OllamaServer(settings, lambda: 1_750_000_000)
    return OpenAiServer(settings)


@asynccontextmanager
async def running(home: Path, router: ModelRouter) -> AsyncIterator[tuple[Backends, str]]:
    """The gateway with this router, and what adds servers to it."""
    backends = Backends(router, (), Home(home).backends, lambda: 1_750_000_000)
    backends.load()
    async with serving(home, router, backends=backends) as (_, url):
        yield backends, url


@asynccontextmanager
async def model_gateway(
    home: Path,
    servers: Sequence[ModelServer] = (),
    *,
    timeout_s: float = 10.0,
    breaker: BreakerLimits | None = None,
) -> AsyncIterator[ModelGateway]:
    """The gateway in front of these servers, named a, b, c, .. and of the embedded model."""
    breakers: list[tuple[str, BreakerChanged]] = []
    async with (
        EmbeddedBackend(nice=0) as embedded,
        ModelRouter(
            [
                *(
                    reached(server, name, timeout_s)
                    for name, server in zip("abc", servers, strict=False)
                ),
                EmbeddedServer(embedded, lambda: 1_750_000_000),
            ],
            on_breaker=lambda name, change: breakers.append((name, change)),
            policy=QUICK,
            breaker=breaker,
        ) as router,
        running(home, router) as (backends, url),
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as openai,
    ):
        with OpenAI(base_url=f"{url}/v1", api_key="none") as waiting:
            yield ModelGateway(url, http, openai, waiting, breakers, backends)
