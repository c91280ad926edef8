"""All connections of the gateway, from the listening socket to a quiet end."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from starlette.types import ASGIApp

from inference.plain_socket import PlainSocket
from node.gateway.http.connection import Connection, Upgrade
from node.gateway.http.upgrades import serve_upgraded

log = logging.getLogger("bizra.gateway")

IDLE_S: Final = 60.0
FAREWELL_S: Final = 1.0
_FULL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_FULL_S: Final = 0.1


async def serve(
    app: ASGIApp, listener: socket.socket, shutdown: Callable[[], Awaitable[object]] | None = None
) -> None:
    """Serve until cancelled, or until `shutdown` returns; takes the listener over.

    After `shutdown` the answers at work have a second to come to their ends.
    """
    connections: set[Connection] = set()
    listener.setblocking(False)  # noqa: FBT003 - the socket's own interface
    async with trio.open_nursery() as answering:
        with listener:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(_accept_all, app, listener, connections, answering)
                await (shutdown or trio.sleep_forever)()
                accepting.cancel_scope.cancel()
        answering.cancel_scope.deadline = trio.current_time() + FAREWELL_S
        for connection in tuple(connections):
            connection.leave()


async def _accept_all(
    app: ASGIApp, listener: socket.socket, connections: set[Connection], answering: trio.Nursery
) -> None:
    while True:
        await trio.lowlevel.wait_readable(listener.fileno())
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            continue
        except OSError as error:
            if error.errno in _FULL:
                log.warning("no room for another connection (%s)", error.strerror)
                await trio.sleep(_FULL_S)
            # Anything else is of one caller, who is gone before he was let in.
            continue
        answering.start_soon(_serve_one, app, connections, sock)


async def _serve_one(app: ASGIApp, connections: set[Connection], sock: socket.socket) -> None:
    try:
        stream = PlainSocket(sock)
        connection = Connection(app, stream, IDLE_S)
    except OSError:
        # The caller hung up before he was looked at.
        sock.close()
        return
    connections.add(connection)
    try:
        await connection.run()
    except Upgrade as upgrade:
        await serve_upgraded(app, stream, upgrade.received)
    except Exception:
        log.exception("a connection failed")
    finally:
        connections.discard(connection)
        stream.close()
