"""What can go wrong, each as a readable value: times in milliseconds from the start, other units in the names.

Whatever is not said to count as faulty is bearable: safety is asked of the node all the same, and liveness once it is
over. All faults end before the scenario's `heal_ms`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import msgspec

Ms = Annotated[int, msgspec.Meta(ge=0, le=86_400_000)]
Micros = Annotated[int, msgspec.Meta(ge=0, le=60_000_000)]
Ppm = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Node = Annotated[int, msgspec.Meta(ge=0, le=9_999)]
Rate = Annotated[int, msgspec.Meta(ge=100, le=10**12)]
StepMs = Annotated[int, msgspec.Meta(ge=-86_400_000, le=86_400_000)]
DriftPpm = Annotated[int, msgspec.Meta(ge=-500_000, le=500_000)]


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all parts of a scenario have in common."""


class _Fault(Value, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    at_ms: Ms

    @property
    def end_ms(self) -> int:
        """When it is over."""
        return self.at_ms

    @property
    def nodes_named(self) -> tuple[int, ...]:
        """The nodes that it speaks of."""
        return ()


class _While(_Fault, frozen=True, kw_only=True, forbid_unknown_fields=True):
    until_ms: Ms

    @property
    def end_ms(self) -> int:
        return self.until_ms


class _OnNode(_Fault, frozen=True, kw_only=True, forbid_unknown_fields=True):
    node: Node

    @property
    def nodes_named(self) -> tuple[int, ...]:
        return (self.node,)


class _OnNodeWhile(_OnNode, frozen=True, kw_only=True, forbid_unknown_fields=True):
    until_ms: Ms

    @property
    def end_ms(self) -> int:
        return self.until_ms


class _AmongNodes(_While, frozen=True, kw_only=True, forbid_unknown_fields=True):
    nodes: tuple[Node, ...] = ()
    """Only messages from or to these; empty: all messages."""

    @property
    def nodes_named(self) -> tuple[int, ...]:
        return self.nodes


# Processes


class Crash(_OnNode, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="crash"):
    """A node dies and comes back with what its disk has.

    `in_turn`: it dies in the middle of its next turn that writes to disk, somewhere between two effects. `wipes_votes`:
    what it has promised is lost from its disk, which makes it count as faulty.
    """

    down_ms: Ms
    in_turn: bool = False
    wipes_votes: bool = False

    @property
    def end_ms(self) -> int:
        return self.at_ms + self.down_ms


class Pause(_OnNode, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="pause"):
    """A node stands still and then takes everything that has come meanwhile."""

    for_ms: Ms

    @property
    def end_ms(self) -> int:
        return self.at_ms + self.for_ms


class SlowCpu(_OnNodeWhile, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="slow_cpu"):
    """Every event costs a node so much time, and what comes meanwhile waits in line."""

    turn_us: Micros


# Disks


class SlowDisk(
    _OnNodeWhile, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="slow_disk"
):
    """Each sync takes so long; nothing is sent before it ends, and a crash before loses what was not synced."""

    sync_us: Micros


class FullDisk(
    _OnNodeWhile, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="full_disk"
):
    """No write succeeds, so the process ends at the first, and is started again every second."""


class FalseSync(
    _OnNodeWhile, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="false_sync"
):
    """The disk says that it has synced and has not: a crash meanwhile loses batches. The node counts as faulty."""


class BitRot(_OnNode, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="bit_rot"):
    """A stored record loses a bit. The node counts as faulty.

    Once a checksum or the core notices, the process ends, its disks are replaced by new ones and it begins anew after
    `down_ms`. `unchecked`: no checksum notices, the core is given the wrong bytes.
    """

    down_ms: Ms
    unchecked: bool = False

    @property
    def end_ms(self) -> int:
        return self.at_ms + self.down_ms


# Clocks


class ClockStep(_OnNode, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="clock_step"):
    """A node's clock is set forward or back; its timers don't notice. At `heal_ms` it is set right."""

    by_ms: StepMs


class ClockDrift(
    _OnNodeWhile, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="clock_drift"
):
    """A node's clock and its timers run too fast (or too slow, below 0). At `heal_ms` the clock is set right."""

    by_ppm: DriftPpm


class ClockStop(
    _OnNodeWhile, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="clock_stop"
):
    """A node's clock stands still, and then shows the right time again."""


# Networks


class Partition(_While, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="partition"):
    """Messages between `side` and the rest are lost: all, or only those that go out of it, or into it."""

    side: tuple[Node, ...]
    direction: Literal["both", "out", "in"] = "both"
    closes_links: bool = False
    """Whether the nodes notice, as with a reset connection."""

    @property
    def nodes_named(self) -> tuple[int, ...]:
        return self.side


class Cut(_While, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="cut"):
    """Single links are cut, so that two nodes may not hear each other though both hear a third."""

    links: Annotated[tuple[tuple[Node, Node], ...], msgspec.Meta(min_length=1)]
    """From, to."""
    one_way: bool = False

    @property
    def nodes_named(self) -> tuple[int, ...]:
        return tuple(node for link in self.links for node in link)


class Clog(_AmongNodes, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="clog"):
    """Swizzle-clogging: links stop one by one, drawn by luck, and start again in another order.

    What is sent over a clogged link is not lost, it waits. (Zhou et al. 2021, FoundationDB, section 4.)
    """


class Loss(_AmongNodes, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="loss"):
    """A share of the messages is lost for a while."""

    lost_ppm: Ppm


class Lag(_AmongNodes, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="lag"):
    """Every message takes longer for a while."""

    more_us: Micros


class Throttle(_OnNodeWhile, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="throttle"):
    """A node sends no faster than this; what it sends waits in line."""

    bytes_per_s: Rate


Fault = (
    Crash
    | Pause
    | SlowCpu
    | SlowDisk
    | FullDisk
    | FalseSync
    | BitRot
    | ClockStep
    | ClockDrift
    | ClockStop
    | Partition
    | Cut
    | Clog
    | Loss
    | Lag
    | Throttle
)

KINDS: dict[str, type[Any]] = {kind.__struct_config__.tag: kind for kind in get_args(Fault)}
"""The faults by the names that scenario files give them."""
