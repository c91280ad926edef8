"""A scenario: everything that happens to a federation from outside, as one frozen, printable value.

Times are milliseconds of virtual time from the start. Nodes are numbered: founders first, then those who join. What a
scenario leaves open (which message is lost, how long another takes) is drawn by key from its seed.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Ms = Annotated[int, msgspec.Meta(ge=0, le=86_400_000)]
Micros = Annotated[int, msgspec.Meta(ge=0, le=60_000_000)]
Ppm = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Node = Annotated[int, msgspec.Meta(ge=0, le=999)]


class _Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all parts of a scenario have in common."""


class Network(_Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How messages travel until the network heals; afterwards they take `latency_us` and half the jitter."""

    latency_us: Micros = 500
    jitter_us: Micros = 1_500
    tail_ppm: Ppm = 0
    """This share of the messages takes up to `tail_us` more."""
    tail_us: Micros = 0
    loss_ppm: Ppm = 0
    duplicate_ppm: Ppm = 0


class Crash(
    _Value, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="crash", tag_field="kind"
):
    """A node dies and comes back with what its disk has.

    `in_turn`: it dies in the middle of its next turn that writes to disk, somewhere between two effects. `wipes_votes`:
    its vote log is lost, which makes it count as faulty.
    """

    node: Node
    at_ms: Ms
    down_ms: Ms
    in_turn: bool = False
    wipes_votes: bool = False


class Pause(
    _Value, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="pause", tag_field="kind"
):
    """A node stands still and then takes everything that has come meanwhile."""

    node: Node
    at_ms: Ms
    for_ms: Ms


class Partition(
    _Value, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="partition", tag_field="kind"
):
    """Messages between `side` and the rest are lost: all, or only those that go out of it, or into it."""

    at_ms: Ms
    until_ms: Ms
    side: tuple[Node, ...]
    direction: Literal["both", "out", "in"] = "both"
    closes_links: bool = False
    """Whether the nodes notice, as with a reset connection."""


Fault = Crash | Pause | Partition

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
    "twin",
]


class Actor(_Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node that lies, in one of the ways of `simulations.adversaries`."""

    node: Node
    kind: ActorKind


class Delays(_Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The protocol's timers."""

    progress_ms: Ms = 1_000
    progress_cap_ms: Ms = 8_000
    status_ms: Ms = 500
    drift_ms: Ms = 5_000


class Clients(_Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What users ask for: each honest founder's user sends this many transactions, one each interval."""

    transactions: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 10
    interval_ms: Ms = 100
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    """So many at a time."""
    only: tuple[Node, ...] = ()
    """If not empty, only the users of these founders ask for anything."""


class Scenario(_Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See the module."""

    name: str = ""
    why: str = ""
    seed: int
    weights: Annotated[tuple[int, ...], msgspec.Meta(min_length=1, max_length=100)]
    """One founder each."""
    joiners: Annotated[tuple[Ms, ...], msgspec.Meta(max_length=20)] = ()
    """When more nodes ask to be let in and then seated."""
    signatures: Literal["keyed_hash", "ed25519"] = "keyed_hash"
    max_block_txs: Annotated[int, msgspec.Meta(ge=1, le=2_000)] = 50
    clients: Clients = Clients()
    delays: Delays = Delays()
    network: Network = Network()
    skews_ms: tuple[Annotated[int, msgspec.Meta(ge=-60_000, le=60_000)], ...] = ()
    """How far each node's clock is off; 0 where nothing is said."""
    actors: tuple[Actor, ...] = ()
    faults: tuple[Fault, ...] = ()
    heal_ms: Ms = 5_000
    """From here on the network is sound; before it no liveness is asked for."""

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
        """Nodes of which nothing is asked: actors, and whoever loses its vote log."""
        wiped = {
            fault.node for fault in self.faults if isinstance(fault, Crash) and fault.wipes_votes
        }
        return frozenset({actor.node for actor in self.actors} | wiped)

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
    nodes = scenario.nodes
    for place, fault in enumerate(scenario.faults):
        named = fault.side if isinstance(fault, Partition) else (fault.node,)
        for node in named:
            if node >= nodes:
                return f"faults[{place}]: node {node} does not exist, there are 0 to {nodes - 1}"
        if _end_of(fault) > scenario.heal_ms:
            return (
                f"faults[{place}]: ends at {_end_of(fault)} ms, after heal_ms = {scenario.heal_ms}"
            )
    for place, actor in enumerate(scenario.actors):
        if actor.node >= scenario.founders:
            return (
                f"actors[{place}]: node {actor.node} is no founder (0 to {scenario.founders - 1})"
            )
    if len({actor.node for actor in scenario.actors}) < len(scenario.actors):
        return "actors: a node stands twice"
    if any(weight < 1 for weight in scenario.weights):
        return "weights: every weight is at least 1"
    lying = sum(scenario.weights[node] for node in scenario.liars if node < scenario.founders)
    if 3 * lying >= sum(scenario.weights):
        return f"actors: they hold {lying} of {sum(scenario.weights)}; a third is more than any protocol bears"
    if len(scenario.skews_ms) > nodes:
        return f"skews_ms: {len(scenario.skews_ms)} clocks for {nodes} nodes"
    return None


def _end_of(fault: Fault) -> int:
    match fault:
        case Crash():
            return fault.at_ms + fault.down_ms
        case Pause():
            return fault.at_ms + fault.for_ms
        case Partition():
            return fault.until_ms
