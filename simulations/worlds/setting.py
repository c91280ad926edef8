"""What happens to nodes from outside, whatever they run: the network, the faults, the clocks.

Times are milliseconds of virtual time from the start; nodes are numbered. What a setting leaves open (which message is
lost, how long another takes) is drawn by key from its seed.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from simulations.worlds.faults import (
    BitRot,
    Crash,
    DriftPpm,
    FalseSync,
    Fault,
    Micros,
    Ms,
    Ppm,
    Rate,
    Value,
)


class Network(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How messages travel until the network heals; afterwards they take `latency_us` and half the jitter."""

    latency_us: Micros = 500
    jitter_us: Micros = 1_500
    jitter_shape: Literal["uniform", "exponential", "pareto"] = "uniform"
    """Uniform: up to `jitter_us` more. Exponential: so much more on average. Pareto: the same, with a heavy tail."""
    tail_ppm: Ppm = 0
    """This share of the messages takes up to `tail_us` more."""
    tail_us: Micros = 0
    loss_ppm: Ppm = 0
    duplicate_ppm: Ppm = 0
    keeps_order: bool = False
    """Whether each link delivers in the order of sending, as a stream does."""
    bytes_per_s: Rate | None = None
    """How fast each node sends; what it sends waits in line."""


class Disk(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How all nodes' disks behave, with LevelDB's promises: batches are atomic, and kept once synced."""

    sync_us: Micros = 0
    """How long a sync takes; 0: no crash falls between a write and its sync."""


class Setting(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every scenario has, whichever cores it is about."""

    name: str = ""
    why: str = ""
    seed: int
    network: Network = Network()
    disk: Disk = Disk()
    skews_ms: tuple[Annotated[int, msgspec.Meta(ge=-60_000, le=60_000)], ...] = ()
    """How far each node's clock is off; 0 where nothing is said."""
    drifts_ppm: tuple[DriftPpm, ...] = ()
    """How much too fast each node's clock runs until all is healed; 0 where nothing is said."""
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

    @property
    def damaged(self) -> frozenset[int]:
        """Nodes whose disks break their promises; they count as faulty."""
        return frozenset(
            fault.node
            for fault in self.faults
            if isinstance(fault, BitRot | FalseSync)
            or (isinstance(fault, Crash) and fault.wipes_votes)
        )


def setting_fault(setting: Setting) -> str | None:
    """What is wrong with a setting although every field by itself is right, or None."""
    nodes = setting.nodes
    for place, fault in enumerate(setting.faults):
        for node in fault.nodes_named:
            if node >= nodes:
                return f"faults[{place}]: node {node} does not exist, there are 0 to {nodes - 1}"
        if fault.end_ms < fault.at_ms:
            return f"faults[{place}]: until_ms = {fault.end_ms} is before at_ms = {fault.at_ms}"
        if fault.end_ms > setting.heal_ms:
            return f"faults[{place}]: ends at {fault.end_ms} ms, after heal_ms = {setting.heal_ms}"
    for name in ("skews_ms", "drifts_ppm"):
        clocks = len(getattr(setting, name))
        if clocks > nodes:
            return f"{name}: {clocks} clocks for {nodes} nodes"
    return None
