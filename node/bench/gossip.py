"""How soon a lost member is noticed by one and by all, and what that costs; what membership costs without that."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Protocol

from node.bench.detection_world import DetectionWorld
from node.bench.gossip_upkeep import OWN as OWN_UPKEEP
from node.bench.gossip_upkeep import UPKEEP, UpkeepFigures
from node.bench.gossip_upkeep import compared as compared_upkeep
from node.bench.gossip_world import GossipWorld
from node.bench.memberlist_model import MemberlistWorld
from node.bench.meshed_world import MeshedWorld, PlottingWorld

SIZES = (8, 128, 512)
FULL_SIZES = (8, 32, 128, 512, 1000)
LEAST_LOST = 16
_MOST_LOST = 48
_WARM_MS = 5_000
_WINDOW_MS = 20_000
_AFTER_MS = 25_000
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Setting:
    """What is wrong in the world: shares of messages lost and of slow members; how many lie."""

    loss: float = 0.0
    slow: float = 0.0
    liars: bool = False

    @property
    def is_steady(self) -> bool:
        """Whether what is said without losses is the same at any time: slow members and liars are found out."""
        return not self.slow and not self.liars


SETTINGS = (Setting(), Setting(loss=0.1), Setting(slow=0.1), Setting(liars=True))


@dataclass(frozen=True, slots=True)
class GossipFigures:
    """One row.

    Detection: from a member's end to the first suspicion. Dissemination: from there until each
    other knows of it. Death: from its end until each other takes it for dead.

    `bytes_per_loss`: what each other member sends on account of one loss, by comparison with the same
    world without losses; None with slow members or liars, whose cost drowns that.
    """

    nodes: int
    loss: float
    slow: float
    liars: int
    lost: int
    detect_p50_s: float
    detect_p99_s: float
    disseminate_p50_ms: float
    disseminate_p99_ms: float
    dead_p50_s: float
    dead_p99_s: float
    undetected: int
    false_positives_per_node_hour: float
    node_hours: float
    messages_per_node_s: float
    bytes_per_node_s: float
    idle_messages_per_node_s: float
    idle_bytes_per_node_s: float
    bytes_per_loss: float | None


class MakeWorld(Protocol):
    """A kind of world."""

    def __call__(
        self, nodes: int, *, loss: float, slow: float, liars: int, seed: int
    ) -> GossipWorld: ...


OWN: dict[str, MakeWorld] = {"full": DetectionWorld, "mesh": MeshedWorld, "plot": PlottingWorld}
RIVALS: dict[str, MakeWorld] = {"memberlist": MemberlistWorld}


@dataclass(frozen=True, slots=True)
class Measured:
    """Of each world or system: its rows, and what it costs while nothing happens, the smallest federation first."""

    rows: dict[str, list[GossipFigures]]
    upkeep: dict[str, list[UpkeepFigures]]


def measure(
    sizes: Sequence[int],
    settings: Sequence[Setting],
    say: Callable[[str], None],
    makes: Mapping[str, MakeWorld],
    least_lost: int = LEAST_LOST,
) -> Measured:
    """In each row at least so many members end. Upkeep is that of daemons, whatever the worlds."""
    rows = [(name, nodes, setting) for name in makes for nodes in sizes for setting in settings]
    upkeeps = [OWN_UPKEEP, *(name for name in makes if name in UPKEEP)]
    # A process for each core: no row has to do with another one. What takes longest begins first.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        upkeep_under_way = {
            (name, nodes): pool.submit(UPKEEP[name], nodes)
            for nodes in sorted(sizes, reverse=True)
            for name in upkeeps
        }
        under_way = [
            pool.submit(
                measure_one,
                nodes,
                setting,
                max(least_lost, _MOST_LOST * min(sizes) // nodes),
                makes[name],
            )
            for name, nodes, setting in rows
        ]
        measured = Measured({name: [] for name in makes}, {name: [] for name in upkeeps})
        for (name, nodes, setting), row in zip(rows, under_way, strict=True):
            say(f"{name}: {nodes} nodes, {setting}")
            measured.rows[name].append(row.result())
        for name in upkeeps:
            for nodes in sizes:
                say(f"{name}: {nodes} nodes to which nothing happens")
                measured.upkeep[name].append(upkeep_under_way[name, nodes].result())
    return measured


def measure_one(
    nodes: int, setting: Setting, lost_in_all: int, make: MakeWorld = DetectionWorld
) -> GossipFigures:
    """Members end at random moments, no more than a tenth of them in one world."""
    liars = (nodes - 1) // 3 if setting.liars else 0
    each = max(1, min(4, nodes // 10))
    detect: list[float] = []
    spread: list[float] = []
    dead: list[float] = []
    undetected = false_deaths = messages = size_bytes = idle_messages = idle_bytes = spent_ms = 0
    extra_bytes = 0.0
    worlds = math.ceil(lost_in_all / each)
    for seed in range(nodes * 1_000, nodes * 1_000 + worlds):
        world = make(nodes, loss=setting.loss, slow=setting.slow, liars=liars, seed=seed)
        world.run(_WARM_MS)
        idle_messages, idle_bytes = idle_messages + world.messages, idle_bytes + world.size_bytes
        doomed = world.dice.sample(world.healthy(), each)
        moments = sorted(world.dice.randrange(_WINDOW_MS) for _ in doomed)
        for node, moment in zip(doomed, moments, strict=True):
            world.run(_WARM_MS + moment - world.now_ms)
            world.kill(node)
        while world.now_ms < _WARM_MS + _WINDOW_MS + _AFTER_MS:
            world.run(1_000)
            world.note_false_deaths()
        messages, size_bytes = messages + world.messages, size_bytes + world.size_bytes
        spent_ms += world.now_ms
        false_deaths += len(world.false_deaths)
        watchers = set(world.healthy())
        for loss in world.losses.values():
            undetected += len(watchers - loss.dead_ms.keys())
            if loss.suspected_ms is not None:
                first_ms = loss.suspected_ms
                detect.append((first_ms - loss.gone_ms) / 1_000)
                spread.extend(
                    float(max(0, at_ms - first_ms))
                    for node, at_ms in loss.known_ms.items()
                    if node in watchers
                )
                dead.extend(
                    (at_ms - loss.gone_ms) / 1_000
                    for node, at_ms in loss.dead_ms.items()
                    if node in watchers
                )
        if setting.is_steady:
            calm = make(nodes, loss=setting.loss, slow=0, liars=0, seed=seed)
            extra_bytes += extra_of_losses(world, calm)
    node_s, idle_node_s = nodes * spent_ms / 1_000, nodes * worlds * _WARM_MS / 1_000
    node_hours = nodes * spent_ms / _HOUR_MS
    return GossipFigures(
        nodes=nodes,
        loss=setting.loss,
        slow=setting.slow,
        liars=liars,
        lost=worlds * each,
        detect_p50_s=_percentile(detect, 0.5),
        detect_p99_s=_percentile(detect, 0.99),
        disseminate_p50_ms=_percentile(spread, 0.5),
        disseminate_p99_ms=_percentile(spread, 0.99),
        dead_p50_s=_percentile(dead, 0.5),
        dead_p99_s=_percentile(dead, 0.99),
        undetected=undetected,
        false_positives_per_node_hour=round(false_deaths / node_hours, 4),
        node_hours=round(node_hours, 2),
        messages_per_node_s=round(messages / node_s, 2),
        bytes_per_node_s=round(size_bytes / node_s, 1),
        idle_messages_per_node_s=round(idle_messages / idle_node_s, 2),
        idle_bytes_per_node_s=round(idle_bytes / idle_node_s, 1),
        bytes_per_loss=_per_loss(extra_bytes, nodes, worlds * each) if setting.is_steady else None,
    )


def extra_of_losses(world: GossipWorld, calm: GossipWorld) -> float:
    """What all have sent more in one world than those who were up would have in the other, where nobody is lost."""
    calm.run(world.now_ms - calm.now_ms)
    away_ms = sum(world.now_ms - loss.gone_ms for loss in world.losses.values())
    share = 1 - away_ms / (len(world.names) * world.now_ms)
    return world.size_bytes - share * calm.size_bytes


def _per_loss(extra_bytes: float, nodes: int, losses: int) -> float:
    return round(extra_bytes / losses / (nodes - 1), 1)


COMPARED = (
    "detect_p50_s",
    "detect_p99_s",
    "disseminate_p50_ms",
    "disseminate_p99_ms",
    "dead_p50_s",
    "dead_p99_s",
    "messages_per_node_s",
    "bytes_per_node_s",
    "idle_messages_per_node_s",
    "idle_bytes_per_node_s",
)


def compared(ours: GossipFigures, other: GossipFigures, system: str) -> dict[str, object]:
    """The other's row in the same world, and what ours is of it (below 1 is better)."""
    row: dict[str, object] = {"system": system, **asdict(other)}
    for name in COMPARED:
        theirs = getattr(other, name)
        row[f"ratio_{name}"] = round(getattr(ours, name) / theirs, 3) if theirs else None
    return row


def as_markdown(figures: Iterable[tuple[str, GossipFigures]]) -> str:
    """The table of docs/BENCHMARKS.md: of each row whose it is and its figures, those of one world below each other."""
    heads = (
        *("n", "loss", "slow", "liars", "who", "lost"),
        *("detect p50 / p99", "spread p50 / p99", "dead p50 / p99"),
        *("false", "missed", "messages", "bytes"),
    )
    rows = [
        (
            *(f"{value:g}" for value in (one.nodes, one.loss, one.slow, one.liars)),
            who,
            f"{one.lost}",
            f"{one.detect_p50_s:.2f} / {one.detect_p99_s:.2f}",
            f"{one.disseminate_p50_ms:.0f} / {one.disseminate_p99_ms:.0f}",
            f"{one.dead_p50_s:.1f} / {one.dead_p99_s:.1f}",
            f"{one.false_positives_per_node_hour:g} in {one.node_hours:g}",
            f"{one.undetected}",
            f"{one.messages_per_node_s:.1f} / {one.idle_messages_per_node_s:.1f}",
            f"{one.bytes_per_node_s:.0f} / {one.idle_bytes_per_node_s:.0f}",
        )
        for who, one in sorted(
            figures,
            key=lambda entry: (entry[1].nodes, entry[1].liars, entry[1].slow, entry[1].loss),
        )
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ("---",) * len(heads), *rows))


def told(
    measured: Measured, worlds: Sequence[str], against: Sequence[str]
) -> dict[str, list[dict[str, object]]]:
    """All figures with the names that the command prints; the others are compared with the first world."""
    ours = measured.rows[worlds[0]]
    said: dict[str, list[dict[str, object]]] = {
        "rows": [{"world": name, **asdict(row)} for name in worlds for row in measured.rows[name]],
        "upkeep": [asdict(one) for one in measured.upkeep[OWN_UPKEEP]],
    }
    if against:
        said["against"] = [
            compared(one, other, name)
            for name in against
            for one, other in zip(ours, measured.rows[name], strict=True)
        ]
        said["upkeep_against"] = [
            compared_upkeep(
                one, other, name, loss_in(ours, one.nodes), loss_in(measured.rows[name], one.nodes)
            )
            for name in against
            for one, other in zip(measured.upkeep[OWN_UPKEEP], measured.upkeep[name], strict=True)
        ]
    return said


def loss_in(rows: Iterable[GossipFigures], nodes: int) -> float | None:
    """What one loss among so many costs a node in bytes while nothing else is wrong, if that was measured."""
    fitting = (
        one.bytes_per_loss
        for one in rows
        if one.nodes == nodes and Setting(one.loss, one.slow, bool(one.liars)) == Setting()
    )
    return next(fitting, None)


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3) if ordered else math.nan
