"""Drawing lots among members."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gossip.identity import NodeId


class Lots:
    """`jitter` returns numbers from 0 to 1."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self.jitter = jitter

    def draw(self, nodes: Sequence[NodeId], count: int) -> list[NodeId]:
        """Some of them in random order."""
        pool, size = list(nodes), len(nodes)
        for at in range(min(count, size)):
            other = at + min(int(self.jitter() * (size - at)), size - at - 1)
            pool[at], pool[other] = pool[other], pool[at]
        return pool[:count]
