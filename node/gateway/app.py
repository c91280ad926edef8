"""The gateway as one ASGI application, and the socket on which it is served."""

from __future__ import annotations

import errno
import socket
import time
from dataclasses import dataclass, replace
from importlib.metadata import version

import msgspec
import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from gossip.transfer.service import ContentService
from inference.engine import AnswerEngine
from node.chain.event_hub import EventHub
from node.chain.read_models import ReadModels
from node.chain.registry import Registry
from node.chain.signatures import InThread, Signatures
from node.chain.snapshots import Snapshots
from node.config import DEFAULT_CLIENT_PARALLEL, DEFAULT_QUOTA_PER_S, ApiAddress
from node.errors import NodeError
from node.gateway.asyncapi import sockets_document
from node.gateway.backends import BackendsDoor
from node.gateway.backroom import Backroom, BackroomParts
from node.gateway.bulk import BlockFeed, Bulk
from node.gateway.cache import Cache
from node.gateway.caches import CachesDoor
from node.gateway.caching import Unchanging
from node.gateway.contents import ContentDoor
from node.gateway.endpoint import Direct, Endpoint, Exact, resources_of
from node.gateway.events import EventDoor
from node.gateway.groups import GroupDoor
from node.gateway.guard import Guard, OwnerCheck, is_loopback
from node.gateway.idempotency import Idempotency
from node.gateway.leaving import LeavingDoor
from node.gateway.list_routes import event_endpoints, list_endpoints
from node.gateway.lists import Lists
from node.gateway.metering import Metered
from node.gateway.metrics import ConsensusTraffic, MetricsDoor
from node.gateway.ollama import OllamaDoor
from node.gateway.openai import OpenAiDoor
from node.gateway.openapi import document
from node.gateway.problems import on_bug, on_http_error, on_node_error
from node.gateway.proofs import Proofs
from node.gateway.quota import Quotas
from node.gateway.reads import Reads
from node.gateway.registry import RegistryDoor
from node.gateway.routes import (
    bulk_endpoints,
    core_endpoints,
    proof_endpoints,
)
from node.gateway.snapshots import SnapshotDoor
from node.gateway.tokens import TokensDoor
from node.gateway.topics import TopicDoor
from node.gateway.turns import Turns
from node.gateway.writes import Writes
from node.group_service import GroupService
from node.models.backends import Backends
from node.peers.topics import TopicService
from node.storage.store import LevelStore
from node.tokens import Tokens
from node.views.facade import Facade
from node.views.records import JsonObject

_BACKLOG = 256


class ApiAddressError(NodeError):
    """The HTTP interface can't listen where it should; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What a gateway may have besides its core: each part is there if what it needs is."""

    feed: BlockFeed | None = None
    signatures: Signatures | None = None
    """What checks those of many transactions at a time; a thread if nothing else does."""
    models: AnswerEngine | None = None
    chat_peers: bool = False
    """Whether conversations may leave the machine for a peer unasked."""
    backroom: BackroomParts | None = None
    backends: Backends | None = None
    contents: ContentService | None = None
    snapshots: Snapshots | None = None
    topics: TopicService | None = None
    stop: trio.Event | None = None
    """What ends the daemon."""
    groups: GroupService | None = None
    registry: Registry | None = None
    reading: ReadModels | None = None
    hub: EventHub | None = None
    keys: LevelStore | None = None
    """Where idempotency keys are kept."""
    quota_per_s: int = DEFAULT_QUOTA_PER_S
    client_parallel: int = DEFAULT_CLIENT_PARALLEL
    tokens: Tokens | None = None
    """Those of other programs."""
    traffic: ConsensusTraffic | None = None


def make_app(facade: Facade, *, token: str, host: str, doors: Doors | None = None) -> ASGIApp:
    """The application for one node. `host` is where it listens, `token` what its owner shows."""
    doors = doors or Doors()
    owner = OwnerCheck(token, doors.tokens)
    endpoints = _endpoints(facade, owner, doors)
    resources = resources_of(endpoints)
    routes: list[BaseRoute] = [Route(path, one) for path, one in resources.items()]
    asked: list[Route] = []
    described = list(endpoints)
    if doors.hub is not None:
        routes.append(WebSocketRoute("/api/v2/events", EventDoor(facade, doors.hub).socket))
    if doors.feed is not None:
        routes.append(
            WebSocketRoute(
                "/api/v2/transactions/stream", _bulk(facade, doors.feed, doors).submissions
            )
        )
    if doors.models is not None:
        queue = None if doors.backroom is None else doors.backroom.foreman
        turns = Turns(doors.client_parallel)
        openai = OpenAiDoor(doors.models, turns, chat_peers=doors.chat_peers, queue=queue)
        ollama = OllamaDoor(doors.models, turns, chat_peers=doors.chat_peers, queue=queue)
        asked = [*openai.routes(), *ollama.routes()]
        described += [*openai.endpoints(), *ollama.endpoints()]
        routes += asked
    words = version("bizra-node")
    routes += [
        _described("/openapi.json", document(described, words)),
        _described("/asyncapi.json", sockets_document(words)),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: on_http_error,
            NodeError: on_node_error,
            Exception: on_bug,
        },
    )
    app.router.redirect_slashes = False
    direct = {one.path: Direct(one, app) for one in asked}
    metered = Metered(
        Exact({**resources, **direct}, app), Quotas(doors.quota_per_s), owner, time.monotonic
    )
    return Guard(metered, host)


def _endpoints(facade: Facade, owner: OwnerCheck, doors: Doors) -> list[Endpoint]:
    """What this node serves, in the order in which requests are matched."""
    endpoints: list[Endpoint] = []
    cache = Cache()
    if doors.feed is not None:
        endpoints += bulk_endpoints(_bulk(facade, doors.feed, doors))
    if doors.hub is not None:
        endpoints += event_endpoints(EventDoor(facade, doors.hub))
    if doors.reading is not None:
        doors.reading.projector.listen(cache.invalidate)
        endpoints += list_endpoints(Lists(facade, doors.reading, cache, owner, _now_ms))
    if doors.groups is not None:
        endpoints += GroupDoor(facade, doors.groups, owner).endpoints()
    if doors.registry is not None:
        endpoints += RegistryDoor(doors.registry, facade, owner).endpoints()
    if doors.tokens is not None:
        endpoints += TokensDoor(doors.tokens, facade, owner, _now_ms).endpoints()
    endpoints += _endpoints_beside(facade, owner, doors)
    endpoints += proof_endpoints(Proofs(facade))
    endpoints += core_endpoints(Reads(facade, Unchanging(cache, _now_ms)), Writes(facade, owner))
    if doors.keys is None:
        return [replace(one, idempotent=False) for one in endpoints]
    once = Idempotency(doors.keys, owner, _now_ms)
    return [
        replace(one, handler=once.over(one.handler)) if one.idempotent else one for one in endpoints
    ]


def _endpoints_beside(facade: Facade, owner: OwnerCheck, doors: Doors) -> list[Endpoint]:
    """What is no part of the ledger."""
    endpoints: list[Endpoint] = []
    if doors.contents is not None:
        endpoints += ContentDoor(facade, doors.contents, owner).endpoints()
    if doors.backroom is not None:
        endpoints += Backroom(facade, doors.backroom, owner).endpoints()
    if doors.backends is not None:
        endpoints += BackendsDoor(doors.backends, owner).endpoints()
    if doors.snapshots is not None:
        endpoints += SnapshotDoor(doors.snapshots, owner).endpoints()
    if doors.stop is not None:
        endpoints += LeavingDoor(doors.stop, owner).endpoints()
    if doors.topics is not None:
        endpoints += TopicDoor(facade, doors.topics, owner).endpoints()
    if doors.models is not None:
        endpoints += CachesDoor(doors.models.cache, owner).endpoints()
        foreman = None if doors.backroom is None else doors.backroom.foreman
        endpoints += MetricsDoor(facade, doors.models, foreman, doors.traffic).endpoints()
    return endpoints


def _bulk(facade: Facade, feed: BlockFeed, doors: Doors) -> Bulk:
    return Bulk(facade, feed, doors.signatures or InThread())


def _described(path: str, description: JsonObject) -> Route:
    body = msgspec.json.encode(description)

    async def describe(_request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return Response(body, media_type="application/json")

    return Route(path, describe)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def open_listener(api: ApiAddress) -> socket.socket:
    """A listening socket. Raises `ApiAddressError`; only addresses of this machine are allowed."""
    if not is_loopback(api.host):
        raise ApiAddressError(
            f"the HTTP interface may not listen on {api}: other machines could reach it, which "
            "needs TLS and is not built in yet. Take 127.0.0.1, and forward the port by ssh"
        )
    family = socket.AF_INET6 if ":" in api.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((api.host, api.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ApiAddressError(
                f"the address {api} of the HTTP interface is taken, perhaps by another node; "
                "choose another port with --api 127.0.0.1:PORT (0 takes any)"
            ) from None
        raise ApiAddressError(
            f"the HTTP interface cannot listen on {api} ({error.strerror}); "
            "choose another address with --api HOST:PORT"
        ) from None
    return listener
