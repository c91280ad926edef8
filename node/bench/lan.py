"""Many daemons on one machine: how soon they know each other, and what each costs while nothing happens."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from node.bench.limits import cpu_seconds
from node.demo.cluster import Cluster, Member, until

_KNOWN_S = 120.0
_SETTLE_S = 5.0
_INVITE_MS = 3_600_000
_NO_WORK: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lan:
    """`known_s` is how long after the last daemon was up each had all others in its table, alive.

    Idle CPU is the share of a core that a daemon uses, over `idle_s` seconds; memory is what is resident.
    """

    nodes: int
    start_s: float
    known_s: float
    start_cpu_s: float
    idle_s: float
    idle_cpu_percent_median: float
    idle_cpu_percent_max: float
    memory_mb_median: float
    memory_mb_max: float


def measure(nodes: int, idle_s: float, say: Callable[[str], None]) -> Lan:
    """Start them one after the other, each with an invite of the first. Raises `NodeError`."""
    folder = Path(tempfile.mkdtemp(prefix="bizra-bench-"))
    cluster = Cluster(folder)
    try:
        say(f"starting {nodes} daemons")
        began = time.monotonic()
        founder = cluster.start("n0", _NO_WORK, None)
        for number in range(1, nodes):
            invite = founder.client.invite(_INVITE_MS).invite
            cluster.start(f"n{number}", _NO_WORK, invite)
        start_s = time.monotonic() - began
        start_cpu = [cpu_seconds(one.process.pid) for one in cluster.members]
        waiting = list(cluster.members)

        def all_known() -> bool:
            while waiting and _knows_all(waiting[-1], nodes):
                waiting.pop()
            return not waiting

        known_s = until(all_known, _KNOWN_S, "the daemons did not all know each other")
        say(f"all know each other after {known_s:.1f} s; idle for {idle_s:g} s")
        time.sleep(_SETTLE_S)
        before = [cpu_seconds(one.process.pid) for one in cluster.members]
        time.sleep(idle_s)
        spent = [
            100 * (cpu_seconds(one.process.pid) - used) / idle_s
            for one, used in zip(cluster.members, before, strict=True)
        ]
        memory = [_resident_mb(one.process.pid) for one in cluster.members]
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return Lan(
        nodes=nodes,
        start_s=round(start_s, 1),
        known_s=round(known_s, 2),
        start_cpu_s=round(median(start_cpu), 2),
        idle_s=idle_s,
        idle_cpu_percent_median=round(median(spent), 2),
        idle_cpu_percent_max=round(max(spent), 2),
        memory_mb_median=round(median(memory), 1),
        memory_mb_max=round(max(memory), 1),
    )


def as_json(figures: Lan) -> dict[str, object]:
    """The figures with the names that the command prints."""
    return asdict(figures)


def _knows_all(member: Member, nodes: int) -> bool:
    peers = member.client.peers().peers
    return sum(peer.status == "alive" for peer in peers) == nodes - 1


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1_000_000
    return 0.0
