"""What membership costs while nothing happens, all of it; and at how many losses ours costs as much as another's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

from gossip.membership.mesh import MeshHabits
from node.bench.gossip_world import GossipWorld
from node.bench.memberlist_model import MemberlistWorld
from node.bench.membership_world import MembershipWorld

OWN = "membership"
_MEASURED_S = 600
_MANY = 256
_LOOK_S = 20
_SETTLE_MS = 30_000
_HOUR_S = 3_600
_SHOWN_BYTES = 0.5
"""Kinds that are less of a node's bytes in a second have no place in a table."""


@dataclass(frozen=True, slots=True)
class KindFigures:
    """What is sent of one kind of message."""

    messages_per_node_s: float
    bytes_per_node_s: float


@dataclass(frozen=True, slots=True)
class UpkeepFigures:
    """A calm federation: a node's connections, if it keeps any, and what it sends.

    `not_alive`: pairs of which the one does not take the other for alive at the end.
    """

    nodes: int
    links_mean: float | None
    links_most: int | None
    messages_per_node_s: float
    bytes_per_node_s: float
    kinds: dict[str, KindFigures]
    not_alive: int


def upkeep_of_members(nodes: int, habits: MeshHabits | None = None) -> UpkeepFigures:
    """Ours, in whole; without `habits` the members are connected as daemons are."""
    world = MembershipWorld(nodes, seed=nodes, habits=habits)
    world.run(world.settling_ms)
    links: list[int] = []
    world.forget_traffic()
    for _ in range(0, _measured_s(nodes), _LOOK_S):
        world.run(_LOOK_S * 1_000)
        links += world.links()
    return _figures(world, world.not_alive(), round(sum(links) / len(links), 1), max(links))


def upkeep_of_memberlist(nodes: int) -> UpkeepFigures:
    """That of the model of memberlist, exchanges of whole states among it."""
    world = MemberlistWorld(nodes, loss=0, slow=0, liars=0, seed=nodes)
    world.run(_SETTLE_MS)
    world.forget_traffic()
    world.run(_measured_s(nodes) * 1_000)
    return _figures(world, world.not_alive())


UPKEEP: dict[str, Callable[[int], UpkeepFigures]] = {
    OWN: upkeep_of_members,
    "memberlist": upkeep_of_memberlist,
}


def _measured_s(nodes: int) -> int:
    """Among many half of the time shows as much: what each says is spread evenly over it."""
    return _MEASURED_S // 2 if nodes > _MANY else _MEASURED_S


def _figures(
    world: GossipWorld,
    not_alive: int,
    links_mean: float | None = None,
    links_most: int | None = None,
) -> UpkeepFigures:
    nodes = len(world.names)
    node_s = nodes * _measured_s(nodes)
    kinds = {
        kind: KindFigures(
            round(sent.messages / node_s, 4),
            round(sent.size_bytes / node_s, 2),
        )
        for kind, sent in sorted(world.sent.items())
    }
    return UpkeepFigures(
        nodes=nodes,
        links_mean=links_mean,
        links_most=links_most,
        messages_per_node_s=round(world.messages / node_s, 2),
        bytes_per_node_s=round(world.size_bytes / node_s, 1),
        kinds=kinds,
        not_alive=not_alive,
    )


class Cheaper(StrEnum):
    """When ours costs fewer bytes than the other's: below or above so many losses, or without regard to them."""

    ALWAYS = "always"
    NEVER = "never"
    BELOW = "below"
    ABOVE = "above"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one node, in bytes: each second without losses, and for each loss among all."""

    upkeep_per_s: float
    per_loss: float


def break_even(ours: Cost, theirs: Cost) -> tuple[float | None, Cheaper]:
    """At how many losses an hour both cost the same, if at any, and on which side of that ours is cheaper."""
    saved_per_s = theirs.upkeep_per_s - ours.upkeep_per_s
    dearer_per_loss = ours.per_loss - theirs.per_loss
    if saved_per_s * dearer_per_loss <= 0:
        return None, Cheaper.ALWAYS if saved_per_s > 0 or dearer_per_loss < 0 else Cheaper.NEVER
    losses = round(_HOUR_S * saved_per_s / dearer_per_loss, 1)
    return losses, Cheaper.BELOW if saved_per_s > 0 else Cheaper.ABOVE


def compared(
    ours: UpkeepFigures,
    theirs: UpkeepFigures,
    system: str,
    our_loss: float | None,
    their_loss: float | None,
) -> dict[str, object]:
    """The other's figures, what ours are of them (below 1 is better), and when ours cost less.

    The losses: what one of them costs a node in bytes, where that was measured.
    """
    row: dict[str, object] = {"system": system, **asdict(theirs)}
    for name in ("messages_per_node_s", "bytes_per_node_s"):
        other = getattr(theirs, name)
        row[f"ratio_{name}"] = round(getattr(ours, name) / other, 3) if other else None
    losses, cheaper = None, None
    if our_loss is not None and their_loss is not None:
        losses, cheaper = break_even(
            Cost(ours.bytes_per_node_s, our_loss), Cost(theirs.bytes_per_node_s, their_loss)
        )
    return row | {
        "bytes_per_loss": their_loss,
        "our_bytes_per_loss": our_loss,
        "losses_per_hour_at_equal_bytes": losses,
        "ours_is_cheaper": cheaper,
    }


def as_markdown(figures: Iterable[tuple[str, UpkeepFigures]]) -> str:
    """The second table of docs/BENCHMARKS.md."""
    heads = ("n", "who", "connections: mean / most", "messages", "bytes", "bytes by kind")
    rows = [cells(who, one) for who, one in sorted(figures, key=lambda entry: entry[1].nodes)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ("---",) * len(heads), *rows))


def cells(who: str, one: UpkeepFigures) -> tuple[str, ...]:
    """A row of a table."""
    return (
        f"{one.nodes}",
        who,
        "-" if one.links_mean is None else f"{one.links_mean:g} / {one.links_most}",
        f"{one.messages_per_node_s:.1f}",
        f"{one.bytes_per_node_s:.0f}",
        by_kind(one),
    )


def by_kind(figures: UpkeepFigures) -> str:
    """What costs how many bytes, the dearest first."""
    dearest = sorted(figures.kinds.items(), key=lambda entry: -entry[1].bytes_per_node_s)
    return ", ".join(
        f"{kind} {one.bytes_per_node_s:.0f}"
        for kind, one in dearest
        if one.bytes_per_node_s >= _SHOWN_BYTES
    )
