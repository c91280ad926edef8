"""What a block costs in a large set: messages and bytes, with votes from all to all and by way of collectors.

One user pays, so each block has one transaction and what is counted is the votes. The network is sound; signatures are
keyed hashes of the same size as Ed25519's, so bytes are those of a real federation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from time import process_time
from typing import Any

import msgspec

from consensus.messages import (
    CollectedStates,
    CollectedVotes,
    Proposal,
    StateVote,
    Suspect,
    Vote,
)
from consensus.quorum import MAX_VALIDATORS
from gossip.codec import encode
from simulations.federation import Federation
from simulations.scenario import Clients, Scenario
from simulations.worlds.faults import Crash
from simulations.worlds.process import Process
from simulations.worlds.result import Result

_INTERVAL_MS = 150
_QUIET_MS = 1_000
_FAILURE = Crash(node=0, at_ms=120, down_ms=800)
"""The first leader is gone when one block is decided, so that there is something to show in the view change."""

ORDERING = (Proposal, Vote, CollectedVotes, StateVote, CollectedStates)
"""What every block needs. The rest is gossip of transactions, STATUS and repairs."""

_ASKS = ("ViewChange", "ViewChangeNames")


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one size in one way."""

    nodes: int
    collected: bool
    leader_fails: bool
    blocks: int
    messages_per_block: float
    """Proposals, votes and certificates."""
    bytes_per_block: float
    busiest_bytes_per_block: float
    """What the node sends that sends most."""
    other_messages: int
    """In all: transactions, STATUS, suspicions, requests for a view, repairs."""
    other_bytes: int
    by_kind: dict[str, int]
    """Messages in all, by kind."""
    view_changes: int
    """Messages that ask for a view."""
    view_change_bytes: int
    largest_message_bytes: int
    violation: str | None
    cpu_s: float


class Counted(Federation):
    """A federation whose messages are counted from its first proposal or suspicion on."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.sent: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()
        self.by_node: Counter[str] = Counter()
        self.largest = 0
        self._counts = False

    def _send(self, process: Process, to: tuple[Hashable, ...], message: Any) -> None:  # noqa: ANN401 - see World
        self._counts = self._counts or isinstance(message, Proposal | Suspect)
        if self._counts:
            kind, size = type(message).__name__, len(encode(message))
            self.sent[kind] += len(to)
            self.sizes[kind] += size * len(to)
            self.largest = max(self.largest, size)
            if isinstance(message, ORDERING):
                self.by_node[process.name] += size * len(to)
        super()._send(process, to, message)


def large_set(nodes: int, blocks: int, *, collected: bool, leader_fails: bool = False) -> Scenario:
    """A set of this size whose users ask for so many blocks, one after the other."""
    return Scenario(
        name=f"{nodes} validators",
        why="what a block costs",
        seed=1,
        weights=(1,) * nodes,
        collected_from=1 if collected else MAX_VALIDATORS + 1,
        clients=Clients(transactions=blocks, interval_ms=_INTERVAL_MS, only=(nodes - 1,)),
        faults=(_FAILURE,) if leader_fails else (),
        heal_ms=_QUIET_MS,
    )


def measure(nodes: int, blocks: int, *, collected: bool, leader_fails: bool = False) -> Cost:
    """Run it and count."""
    begun_s = process_time()
    world = Counted(large_set(nodes, blocks, collected=collected, leader_fails=leader_fails))
    result: Result = world.run()
    ordering = [one.__name__ for one in ORDERING]
    messages, size = (sum(counts[one] for one in ordering) for counts in (world.sent, world.sizes))
    decided = max(1, result.height)
    return Cost(
        nodes=nodes,
        collected=collected,
        leader_fails=leader_fails,
        blocks=result.height,
        messages_per_block=round(messages / decided, 1),
        bytes_per_block=round(size / decided, 1),
        busiest_bytes_per_block=round(max(world.by_node.values(), default=0) / decided, 1),
        other_messages=sum(world.sent.values()) - messages,
        other_bytes=sum(world.sizes.values()) - size,
        by_kind=dict(sorted(world.sent.items())),
        view_changes=sum(world.sent[one] for one in _ASKS),
        view_change_bytes=sum(world.sizes[one] for one in _ASKS),
        largest_message_bytes=world.largest,
        violation=result.violation,
        cpu_s=round(process_time() - begun_s, 1),
    )
