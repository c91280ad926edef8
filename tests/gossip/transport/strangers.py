"""Strangers at a node's door: bare connections, and authenticated ones whose owners do as they like."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from gossip.transport.address import Address
from gossip.transport.guests import PING
from gossip.transport.multistream import select
from gossip.transport.muxer import Connection, MuxStream, Patience
from gossip.transport.repairs import Identity
from gossip.transport.upgrade import upgrade
from gossip.transport.yamux import Session

PATIENCE = Patience()


def identity_of(name: str) -> Identity:
    return Identity(hashlib.sha256(name.encode()).digest())


async def bare(address: str) -> trio.SocketStream:
    """A TCP connection that has said nothing."""
    place = Address.parse(address)
    return await trio.open_tcp_stream(place.host, place.port)


async def _refuse(stream: MuxStream) -> None:
    stream.reset()


@asynccontextmanager
async def stranger(
    address: str, identity: Identity, patience: Patience = PATIENCE
) -> AsyncIterator[Connection]:
    """An authenticated connection. A connection error ends it at once."""
    wire = await bare(address)
    try:
        up = await upgrade(wire, identity, outbound=True)
    except BaseException:
        await trio.aclose_forcefully(wire)
        raise
    connection = Connection(
        wire,
        up.peer,
        up.channel,
        Session(dialer=True, max_inbound_streams=lambda: 8),
        outbound=True,
        patience=patience,
        crowd=lambda: 1,
        on_close=lambda _connection: None,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run, up.early, _refuse)
        yield connection
        connection.close("that's all")


async def assert_pings(connection: Connection) -> None:
    stream = connection.open()
    await select(stream, PING)
    await stream.write(bytes(range(32)))
    assert await stream.read_exactly(32) == bytes(range(32))
    stream.end_write()
