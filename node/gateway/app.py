"""The gateway as one ASGI application, and the socket on which it is served."""

from __future__ import annotations

import errno
import socket

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from gossip.transfer.service import ContentService
from inference.backends.router import ModelRouter
from node.config import ApiAddress
from node.errors import NodeError
from node.gateway.bulk import BlockFeed, Bulk
from node.gateway.contents import ContentDoor
from node.gateway.facade import Facade, Problem
from node.gateway.guard import Guard, OwnerCheck, is_loopback
from node.gateway.ollama import OllamaDoor
from node.gateway.openai import OpenAiDoor
from node.gateway.problems import on_bug, on_http_error, on_node_error, on_problem
from node.gateway.reads import Reads
from node.gateway.writes import Writes

_BACKLOG = 256


class ApiAddressError(NodeError):
    """The HTTP interface can't listen where it should; the text says what to do."""


def make_app(
    facade: Facade,
    *,
    token: str,
    host: str,
    feed: BlockFeed | None = None,
    models: ModelRouter | None = None,
    contents: ContentService | None = None,
    chat_peers: bool = False,
) -> ASGIApp:
    """The application for one node. `host` is where it listens, `token` what its owner shows.

    With a `feed` it also has the wide doors of `bulk.py`, with `models` those of `openai.py` and
    `ollama.py`, with `contents` those of `contents.py`; `chat_peers` says that conversations may
    leave the machine for a peer unasked.
    """
    reads, writes = Reads(facade), Writes(facade, OwnerCheck(token))
    routes = [
        Route("/health", reads.health),
        Route("/ready", reads.ready),
        Route("/api/v2/status", reads.status),
        Route("/api/v2/transactions", writes.submit, methods=["POST"]),
        Route("/api/v2/transactions/{id}", reads.transaction),
        Route("/api/v2/transactions/{id}/receipt", reads.receipt),
        Route("/api/v2/accounts/{id}", reads.account),
        Route("/api/v2/blocks", reads.blocks),
        Route("/api/v2/blocks/{id}", reads.block),
        Route("/api/v2/validators", reads.validators),
        Route("/api/v2/peers", reads.peers),
        Route("/api/v2/tasks", reads.tasks),
        Route("/api/v2/tasks", writes.submit_task, methods=["POST"]),
        Route("/api/v2/tasks/{id}", reads.task),
        Route("/api/v2/tasks/{id}", writes.cancel_task, methods=["DELETE"]),
        Route("/api/v2/transfers", writes.transfer, methods=["POST"]),
        Route("/api/v2/invites", writes.invite, methods=["POST"]),
        Route("/api/v2/admissions", writes.admit, methods=["POST"]),
    ]
    if feed is not None:
        bulk = Bulk(facade, feed)
        routes[:0] = [
            Route("/api/v2/transactions/batch", bulk.submit, methods=["POST"]),
            Route("/api/v2/blocks/stream", bulk.stream),
        ]
    if contents is not None:
        routes += ContentDoor(facade, contents, OwnerCheck(token)).routes()
    if models is not None:
        openai = OpenAiDoor(models, chat_peers=chat_peers)
        routes += [*openai.routes(), *OllamaDoor(models).routes()]
    app = Starlette(
        routes=routes,
        exception_handlers={
            Problem: on_problem,
            HTTPException: on_http_error,
            NodeError: on_node_error,
            Exception: on_bug,
        },
    )
    app.router.redirect_slashes = False
    return Guard(app, host)


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
