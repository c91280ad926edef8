"""How blocks and transactions get over several hops, where not everybody is connected with the validators.

In a small federation all are connected with all: an observer sends transactions to validators, and hears of a block
from its proposer. In a large one that is the way of few; the others are reached through those that are connected.
Whoever has executed a block then tells its neighbours where it stands, and each fetches from one of those that told it.
A transaction goes to validators where there is one, else to three neighbours, who pass on what they had not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from consensus.messages import Status
from gossip.effects import Broadcast, Effect, SetTimer
from gossip.identity import NodeId

RELAY_TIMER: Final = "relay"
_PAUSE_MS: Final = 100
"""Neighbours are told no more often; one word stands for all blocks since the last."""
_WAYS: Final = 3


class Relay:
    """What one node knows of its neighbours' heights. `is_on` says that not all are connected with all."""

    def __init__(self) -> None:
        self.is_on = False
        self._heights: dict[NodeId, int] = {}
        self._told = 0
        self._is_pausing = False
        self._turn = 0

    def note(self, peer: NodeId, height: int) -> None:
        """A connected peer says where it stands."""
        self._heights[peer] = max(height, self._heights.get(peer, 0))

    def forget(self, peer: NodeId) -> None:
        """It is connected no more."""
        self._heights.pop(peer, None)

    def on_block(
        self, height: int, watching: Iterable[NodeId], status: Callable[[], Status]
    ) -> list[Effect]:
        """A block was executed: tell those that watch and are not known to have it."""
        if not self.is_on or self._is_pausing:
            return []
        self._is_pausing = True
        return [*self._tell(height, watching, status), SetTimer(RELAY_TIMER, _PAUSE_MS)]

    def on_timer(
        self, height: int, watching: Iterable[NodeId], status: Callable[[], Status]
    ) -> list[Effect]:
        """Tell what has come since."""
        self._is_pausing = False
        return self.on_block(height, watching, status) if height > self._told else []

    def ways(
        self, peers: AbstractSet[NodeId], validators: Iterable[NodeId], source: NodeId | None = None
    ) -> tuple[NodeId, ...]:
        """To whom a transaction goes; not back to where it came from."""
        direct = tuple(node for node in validators if node in peers and node != source)
        if direct or not self.is_on:
            return direct
        others = sorted(peers - {source} if source is not None else peers)
        self._turn += 1
        start = self._turn * _WAYS % max(1, len(others))
        return tuple((others[start:] + others[:start])[:_WAYS])

    def _tell(
        self, height: int, watching: Iterable[NodeId], status: Callable[[], Status]
    ) -> list[Effect]:
        self._told = height
        behind = tuple(sorted(peer for peer in watching if self._heights.get(peer, 0) < height))
        return [Broadcast(behind, status())] if behind else []
