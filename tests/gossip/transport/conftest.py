"""A small network of transports, real on loopback or in memory, and what tests wait with."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
import trio

from gossip.identity import NodeId
from gossip.transport import (
    MEMBER_LIMITS,
    Limits,
    PeerLimits,
    Transport,
    TransportEvent,
)
from gossip.transport.libp2p import Libp2pTransport
from gossip.transport.memory import MemoryNetwork
from gossip.transport.muxer import Patience
from gossip.transport.outbox import OutboxBounds
from gossip.transport.repairs import Identity

E = TypeVar("E")

PATIENCE = Patience(ping_every_s=0.2, ping_misses=3, write_s=2, negotiate_s=2, dial_s=3)
"""Short enough for tests, long enough for a busy machine."""


@dataclass
class Budgets:
    """Limits that a test may change while the transport runs."""

    usual: PeerLimits = MEMBER_LIMITS
    special: dict[NodeId, PeerLimits] = field(default_factory=dict)

    def __call__(self, peer: NodeId) -> PeerLimits:
        return self.special.get(peer, self.usual)


def seed_of(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


@dataclass
class World:
    """Makes transports of one kind, and starts and stops them."""

    kind: str
    nursery: trio.Nursery
    memory: MemoryNetwork = field(default_factory=MemoryNetwork)
    scopes: dict[NodeId, trio.CancelScope] = field(default_factory=dict)

    def make(
        self, name: str, limits: Limits | None = None, *, outbox: OutboxBounds | None = None
    ) -> Transport:
        """A transport that doesn't run yet."""
        seed, bounds = seed_of(name), outbox or OutboxBounds()
        if self.kind == "memory":
            node_id = Identity(seed).node_id
            return self.memory.join(node_id, limits or Budgets(), outbox=bounds)
        return Libp2pTransport(
            seed,
            ["/ip4/127.0.0.1/tcp/0"],
            limits or Budgets(),
            patience=PATIENCE,
            outbox=bounds,
        )

    async def start(self, transport: Transport) -> None:
        await self.nursery.start(self._run, transport)

    async def _run(
        self,
        transport: Transport,
        task_status: trio.TaskStatus[None],  # type: ignore[name-defined]  # trio-stubs are old
    ) -> None:
        with trio.CancelScope() as self.scopes[transport.node_id]:
            await transport.run(task_status=task_status)

    def stop(self, transport: Transport) -> None:
        self.scopes[transport.node_id].cancel()

    async def node(
        self, name: str, limits: Limits | None = None, *, outbox: OutboxBounds | None = None
    ) -> Transport:
        """A transport that runs."""
        transport = self.make(name, limits, outbox=outbox)
        await self.start(transport)
        return transport


@pytest.fixture(params=["memory", "libp2p"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        yield World(request.param, nursery)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def real() -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        yield World("libp2p", nursery)
        nursery.cancel_scope.cancel()


async def next_event(transport: Transport, kind: type[E], within_s: float = 8) -> E:
    """The next event, which must be of this kind."""
    with trio.fail_after(within_s):
        event = await transport.events.receive()
    assert isinstance(event, kind), event
    return event


async def pending_events(transport: Transport) -> list[TransportEvent]:
    """What has arrived so far."""
    events = []
    while True:
        try:
            events.append(transport.events.receive_nowait())
        except trio.WouldBlock:
            return events


async def until(condition: Callable[[], object], within_s: float = 8) -> None:
    """Give other tasks turns until the condition holds."""
    with trio.fail_after(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await trio.sleep(0.002)
