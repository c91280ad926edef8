"""What happens to nodes from outside, whatever they run: the network, the faults, the clocks.

Times are milliseconds of virtual time from the start; nodes are numbered. What a setting leaves open (which message is
lost, how long another takes) is drawn by key from its seed.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Ms = Annotated[int, msgspec.Meta(ge=0, le=86_400_000)]
Micros = Annotated[int, msgspec.Meta(ge=0, le=60_000_000)]
Ppm = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Node = Annotated[int, msgspec.Meta(ge=0, le=999)]


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all parts of a scenario have in common."""


class Network(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How messages travel until the network heals; afterwards they take `latency_us` and half the jitter."""

    latency_us: Micros = 500
    jitter_us: Micros = 1_500
    tail_ppm: Ppm = 0
    """This share of the messages takes up to `tail_us` more."""
    tail_us: Micros = 0
    loss_ppm: Ppm = 0
    duplicate_ppm: Ppm = 0


class Crash(
    Value, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="crash", tag_field="kind"
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
    Value, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="pause", tag_field="kind"
):
    """A node stands still and then takes everything that has come meanwhile."""

    node: Node
    at_ms: Ms
    for_ms: Ms


class Partition(
    Value, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="partition", tag_field="kind"
):
    """Messages between `side` and the rest are lost: all, or only those that go out of it, or into it."""

    at_ms: Ms
    until_ms: Ms
    side: tuple[Node, ...]
    direction: Literal["both", "out", "in"] = "both"
    closes_links: bool = False
    """Whether the nodes notice, as with a reset connection."""


Fault = Crash | Pause | Partition


class Setting(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every scenario has, whichever cores it is about."""

    name: str = ""
    why: str = ""
    seed: int
    network: Network = Network()
    skews_ms: tuple[Annotated[int, msgspec.Meta(ge=-60_000, le=60_000)], ...] = ()
    """How far each node's clock is off; 0 where nothing is said."""
    faults: tuple[Fault, ...] = ()
    heal_ms: Ms = 5_000
    """From here on the network is sound; before it no liveness is asked for."""

    @property
    def nodes(self) -> int:
        """How many nodes there are in the end."""
        raise NotImplementedError

    @property
    def bound_ms(self) -> int:
        """By when after healing everything asked for must have happened."""
        raise NotImplementedError


def setting_fault(setting: Setting) -> str | None:
    """What is wrong with a setting although every field by itself is right, or None."""
    nodes = setting.nodes
    for place, fault in enumerate(setting.faults):
        named = fault.side if isinstance(fault, Partition) else (fault.node,)
        for node in named:
            if node >= nodes:
                return f"faults[{place}]: node {node} does not exist, there are 0 to {nodes - 1}"
        if _end_of(fault) > setting.heal_ms:
            return (
                f"faults[{place}]: ends at {_end_of(fault)} ms, after heal_ms = {setting.heal_ms}"
            )
    if len(setting.skews_ms) > nodes:
        return f"skews_ms: {len(setting.skews_ms)} clocks for {nodes} nodes"
    return None


def _end_of(fault: Fault) -> int:
    match fault:
        case Crash():
            return fault.at_ms + fault.down_ms
        case Pause():
            return fault.at_ms + fault.for_ms
        case Partition():
            return fault.until_ms
