"""A federation on one virtual clock, whatever finds out in it who is gone: nodes, links, losses, slowness.

Everything is drawn from one seed. Links take a millisecond and lose what they are told to. A slow
node takes up to a second and a half for each message and each timer.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count

from gossip.identity import NodeId

LINK_MS = 1
LIE_MS = 1_000
_SLOWEST_MS = 1_500


@dataclass(slots=True)
class Dweller:
    """One node, as far as the world knows it."""

    node: NodeId
    slow: bool = False
    liar: bool = False
    up: bool = True


@dataclass(slots=True)
class Loss:
    """A node that is gone: when it went, and when each other noticed."""

    node: NodeId
    gone_ms: int
    suspected_ms: int | None = None
    known_ms: dict[NodeId, int] = field(default_factory=dict)
    dead_ms: dict[NodeId, int] = field(default_factory=dict)


@dataclass(slots=True)
class Sent:
    """What was sent of one kind."""

    messages: int = 0
    size_bytes: int = 0


class GossipWorld:
    """`nodes` members, of which shares are slow and lie."""

    def __init__(self, nodes: int, *, loss: float, slow: float, liars: int, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - the same figures every time
        self.now_ms = 0
        self.losses: dict[NodeId, Loss] = {}
        self.false_deaths: set[tuple[NodeId, NodeId]] = set()
        self.messages = self.size_bytes = 0
        self.sent: dict[str, Sent] = {}
        """By kind."""
        self.loss = loss
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self.names = [NodeId(blake2b(b"%d" % at, digest_size=32).digest()) for at in range(nodes)]
        self.dwellers = {name: Dweller(name) for name in self.names}
        for name in self.dice.sample(self.names, round(slow * nodes)):
            self.dwellers[name].slow = True
        honest = [name for name in self.names if not self.dwellers[name].slow]
        for name in self.dice.sample(honest, liars):
            self.dwellers[name].liar = True

    def healthy(self) -> list[NodeId]:
        """Who is up, quick and honest."""
        return [
            one.node for one in self.dwellers.values() if one.up and not one.slow and not one.liar
        ]

    def kill(self, node: NodeId) -> None:
        """The machine is gone; no connection says so."""
        self.dwellers[node].up = False
        self.losses[node] = Loss(node, self.now_ms)

    def run(self, duration_ms: int) -> None:
        """Let so much time pass."""
        end_ms = self.now_ms + duration_ms
        while self._queue and self._queue[0][0] <= end_ms:
            self.now_ms, _, action = heapq.heappop(self._queue)
            action()
        self.now_ms = end_ms

    def is_dead_to(self, node: NodeId, other: NodeId) -> bool:
        """Whether one takes the other for dead."""
        raise NotImplementedError

    def note_false_deaths(self) -> None:
        """Look who is taken for dead and is not; every pair of nodes counts once."""
        for one in self.dwellers.values():
            if one.up and not one.liar:
                self.false_deaths.update(
                    (one.node, other.node)
                    for other in self.dwellers.values()
                    if other.up and other is not one and self.is_dead_to(one.node, other.node)
                )

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do it then."""
        heapq.heappush(self._queue, (self.now_ms + delay_ms, next(self._order), action))

    def lag_ms(self, node: NodeId) -> int:
        """How late a slow node gets to what it has to do."""
        return self.dice.randrange(_SLOWEST_MS) if self.dwellers[node].slow else 0

    def count(self, messages: int, size_bytes: int, kind: str) -> None:
        """So much was sent, each message so large."""
        self.messages += messages
        self.size_bytes += messages * size_bytes
        sent = self.sent.get(kind)
        if sent is None:
            sent = self.sent[kind] = Sent()
        sent.messages += messages
        sent.size_bytes += messages * size_bytes

    def forget_traffic(self) -> None:
        """Count from now on."""
        self.messages = self.size_bytes = 0
        self.sent.clear()

    def is_lost(self) -> bool:
        """Whether the next message is."""
        return self.dice.random() < self.loss
