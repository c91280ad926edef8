"""The door's cost: CPU of its process for each request, and the time that it adds."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import trio

from node.bench.inference import doors
from node.bench.inference.callers import Timed, ask
from node.bench.inference.model_server import MODEL
from node.bench.inference.model_speed import SpeedFigures
from node.demo.cluster import Cluster

CALLERS: Final = (1, 16, 64)
_WARM_UP_S: Final = 1.0
_IDLE_S: Final = 2.0
_TURNS: Final = 2


@dataclass(frozen=True, slots=True)
class DoorFigures:
    """One door with so many callers. Times are those of plain requests, less those without a door."""

    callers: int
    requests: int
    streams: int
    cpu_ms_per_request: float
    cpu_ms_per_stream_20: float
    relay_floor_ms: float
    """The same streams through a bare relay on Trio (`relay.py`), measured by turns with them."""
    added_p50_ms: float
    added_p99_ms: float
    requests_per_s: float


@dataclass(frozen=True, slots=True)
class DoorReport:
    """One door."""

    name: str
    idle_mb: float
    idle_cpu_ms_per_s: float
    """What it spends while nobody asks; taken off the cost of requests."""
    runs: tuple[DoorFigures, ...]


Say = Callable[[str], None]


def measure(
    seconds: float, say: Say, *, against: str | None = None, callers: Sequence[int] = CALLERS
) -> tuple[DoorReport, ...]:
    """A node, and beside it what it is held against. Raises `NodeError`."""
    folder = Path(tempfile.mkdtemp(prefix="bizra-bench-"))
    cluster = Cluster(folder)
    try:
        with doors.model_server() as model_url:
            say("the model server alone")
            direct = {
                count: trio.run(_asked, model_url, False, count, seconds)  # noqa: FBT003 - trio passes by place
                for count in callers
            }
            with doors.relay(model_url) as relay:
                with doors.node(cluster, model_url) as door:
                    reports = [_one_door("bizra-node", door, relay, direct, seconds, say=say)]
                if against == "litellm":
                    with doors.litellm(folder, model_url, say) as door:
                        reports.append(
                            _one_door(doors.LITELLM, door, relay, direct, seconds, say=say)
                        )
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return tuple(reports)


async def _asked(url: str, stream: bool, callers: int, seconds: float) -> Timed:  # noqa: FBT001 - as above
    return await ask(url, MODEL, stream=stream, callers=callers, seconds=seconds)


def _one_door(
    name: str,
    door: doors.Door,
    relay: doors.Door,
    direct: dict[int, Timed],
    seconds: float,
    *,
    say: Say,
) -> DoorReport:
    idle_mb = door.resident_mb()
    for stream in (False, True):
        trio.run(_asked, door.url, stream, 4, _WARM_UP_S)
    idle_share = _idle_share(door)
    runs = []
    for count, bare in direct.items():
        say(f"{name}: {count} callers")
        plain, plain_s = _costed(door, count, seconds, idle_share, stream=False)
        stream_ms, relay_ms, streams = _by_turns(door, relay, count, seconds, idle_share)
        runs.append(
            DoorFigures(
                callers=count,
                requests=plain.requests,
                streams=streams,
                cpu_ms_per_request=round(1000 * plain_s / plain.requests, 3),
                cpu_ms_per_stream_20=round(stream_ms, 3),
                relay_floor_ms=round(relay_ms, 3),
                added_p50_ms=round(plain.percentile_ms(0.5) - bare.percentile_ms(0.5), 2),
                added_p99_ms=round(plain.percentile_ms(0.99) - bare.percentile_ms(0.99), 2),
                requests_per_s=round(plain.requests / seconds, 1),
            )
        )
    return DoorReport(name, round(idle_mb, 1), round(1000 * idle_share, 1), tuple(runs))


def _by_turns(
    door: doors.Door, relay: doors.Door, callers: int, seconds: float, idle_share: float
) -> tuple[float, float, int]:
    """CPU ms a stream of the door and of the bare relay, and how many streams went through the door."""
    spent_s, streams = [0.0, 0.0], [0, 0]
    for _ in range(_TURNS):
        for place, (one, share) in enumerate(((door, idle_share), (relay, 0.0))):
            timed, cpu_s = _costed(one, callers, seconds / _TURNS, share, stream=True)
            spent_s[place] += cpu_s
            streams[place] += timed.requests
    return 1000 * spent_s[0] / streams[0], 1000 * spent_s[1] / streams[1], streams[0]


def _idle_share(door: doors.Door) -> float:
    """CPU seconds a second while nobody asks."""
    before, began = door.cpu_seconds(), time.monotonic()
    time.sleep(_IDLE_S)
    return (door.cpu_seconds() - before) / (time.monotonic() - began)


def _costed(
    door: doors.Door, callers: int, seconds: float, idle_share: float, *, stream: bool
) -> tuple[Timed, float]:
    """What the callers saw, and the CPU seconds that the door spent on them."""
    before, began = door.cpu_seconds(), time.monotonic()
    timed = trio.run(_asked, door.url, stream, callers, seconds)
    spent = door.cpu_seconds() - before
    return timed, max(0.0, spent - idle_share * (time.monotonic() - began))


def as_json(reports: Sequence[DoorReport], speeds: Sequence[SpeedFigures]) -> dict[str, Any]:
    """The figures with the names that the command prints: the node's, and the others' beside them."""
    own, *others = (asdict(report) for report in reports)
    return {**own, "sentences": [asdict(one) for one in speeds], "against": others}
