"""A scenario: everything that happens to a federation from outside, as one frozen, printable value.

Nodes are numbered: founders first, then those who join. `setting.py` has what is not about federations.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from simulations.faults import Ms, Node, Value
from simulations.setting import Setting, setting_fault

ActorKind = Literal[
    "silent",
    "silent_leader",
    "slow",
    "equivocator",
    "malformed_proposer",
    "double_voter",
    "spammer",
    "mutator",
    "forger",
    "divider",
    "lying_server",
    "withholder",
    "weaver",
    "impersonator",
    "censor",
    "usurper",
    "state_liar",
    "alarmist",
    "two_faced",
    "twin",
    "snapshot_liar",
]


class Actor(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node that lies, in one of the ways of `simulations.adversaries`."""

    node: Node
    kind: ActorKind


class Delays(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The protocol's timers."""

    progress_ms: Ms = 1_000
    progress_cap_ms: Ms = 8_000
    status_ms: Ms = 500
    drift_ms: Ms = 5_000


class Clients(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What users ask for: each honest founder's user sends this many transactions, one each interval."""

    transactions: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 10
    interval_ms: Ms = 100
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    """So many at a time."""
    only: tuple[Node, ...] = ()
    """If not empty, only the users of these founders ask for anything."""


class Snapshots(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What nodes do about snapshots of the ledger's state."""

    every: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 4
    """After so many blocks each makes one."""
    behind: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 8
    """Who is so many blocks behind takes one."""


class Scenario(Setting, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See the module."""

    weights: Annotated[tuple[int, ...], msgspec.Meta(min_length=1, max_length=100)]
    """One founder each."""
    joiners: Annotated[tuple[Ms, ...], msgspec.Meta(max_length=20)] = ()
    """When more nodes ask to be let in and then seated."""
    signatures: Literal["keyed_hash", "ed25519"] = "keyed_hash"
    max_block_txs: Annotated[int, msgspec.Meta(ge=1, le=2_000)] = 50
    clients: Clients = Clients()
    delays: Delays = Delays()
    actors: tuple[Actor, ...] = ()
    snapshots: Snapshots | None = None
    """None: nobody makes any, and whoever is behind fetches every block."""

    @property
    def founders(self) -> int:
        """How many nodes there are from the start."""
        return len(self.weights)

    @property
    def nodes(self) -> int:
        """How many nodes there are in the end."""
        return len(self.weights) + len(self.joiners)

    @property
    def liars(self) -> frozenset[int]:
        """Nodes of which nothing is asked: actors, and those whose disks break their promises."""
        return self.damaged | {actor.node for actor in self.actors}

    @property
    def bound_ms(self) -> int:
        """By when after healing everything asked for must have happened.

        A view that fails costs at most a timeout and the wait for somebody else's suspicion, every timeout is at most
        the cap; each liar can fail a view when its turn comes, in each epoch again.
        """
        views = 4 + 3 * len(self.actors)
        epochs = 1 + len(self.joiners)
        timeouts = 2 * views * epochs * self.delays.progress_cap_ms
        beats = 40 * self.delays.status_ms
        blocks = 60 * self.clients.transactions * self.nodes if self.actors else 0
        return timeouts + beats + blocks


def fault_of(scenario: Scenario) -> str | None:
    """What is wrong with a scenario although every field by itself is right, or None."""
    for place, actor in enumerate(scenario.actors):
        if actor.node >= scenario.founders:
            return (
                f"actors[{place}]: node {actor.node} is no founder (0 to {scenario.founders - 1})"
            )
    if scenario.snapshots is None and any(one.kind == "snapshot_liar" for one in scenario.actors):
        return "actors: a snapshot_liar has nothing to lie about; say snapshots = { every = 4, behind = 8 }"
    if len({actor.node for actor in scenario.actors}) < len(scenario.actors):
        return "actors: a node stands twice"
    if any(weight < 1 for weight in scenario.weights):
        return "weights: every weight is at least 1"
    lying = sum(scenario.weights[node] for node in scenario.liars if node < scenario.founders)
    if 3 * lying >= sum(scenario.weights):
        return f"actors: they hold {lying} of {sum(scenario.weights)}; a third is more than any protocol bears"
    return setting_fault(scenario)
