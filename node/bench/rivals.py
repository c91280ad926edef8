"""Other systems under the same load in the same run, for scale: 128-byte writes in a closed loop, all on loopback.

Both survive crashes only: nothing is signed, and one node that lies is believed. They are not ours to ship; each is
used where it is installed.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen, TimeoutExpired

from node.bench.limits import cpu_seconds

VALUE_BYTES = 128
_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class RivalFigures:
    """One run of another system. CPU is that of its servers; `note` says what else is in it."""

    system: str
    nodes: int
    clients: int
    operations: int
    tps: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    tx_per_cpu_second: float
    durable: bool
    note: str
    signed: bool = False
    byzantine: bool = False


@dataclass(frozen=True, slots=True)
class Rival:
    """How to run one: start so many servers below a folder, then load them; the latencies in seconds."""

    system: str
    note: str
    start: Callable[[Path, int], Sequence[Popen[bytes]]]
    load: Callable[[Sequence[Popen[bytes]], int, float], list[float]]
    durable: bool


def measure_rival(
    rival: Rival, nodes: int, clients: int, seconds: float, say: Callable[[str], None]
) -> RivalFigures:
    """Start it, load it, stop it. Raises `NodeError`."""
    folder = Path(tempfile.mkdtemp(prefix="bizra-rival-"))
    try:
        say(f"starting {nodes} servers of {rival.system}")
        with _running(rival.start(folder, nodes)) as servers:
            say(f"{clients} clients for {seconds:g} s")
            before, began = sum(cpu_seconds(one.pid) for one in servers), time.perf_counter()
            latencies = sorted(rival.load(servers, clients, seconds))
            took_s = time.perf_counter() - began
            spent = sum(cpu_seconds(one.pid) for one in servers) - before
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    count = len(latencies)
    return RivalFigures(
        system=rival.system,
        nodes=nodes,
        clients=clients,
        operations=count,
        tps=round(count / took_s, 1),
        p50_ms=_percentile_ms(latencies, 0.5),
        p99_ms=_percentile_ms(latencies, 0.99),
        cpu_seconds=round(spent, 2),
        tx_per_cpu_second=round(count / max(spent, 0.01), 1),
        durable=rival.durable,
        note=rival.note,
    )


@contextmanager
def _running(servers: Sequence[Popen[bytes]]) -> Iterator[Sequence[Popen[bytes]]]:
    try:
        yield servers
    finally:
        for one in servers:
            one.terminate()
        for one in servers:
            try:
                one.wait(_STOP_S)
            except TimeoutExpired:
                one.kill()
                one.wait()


def _percentile_ms(ordered: Sequence[float], share: float) -> float:
    if not ordered:
        return math.nan
    return round(1000 * ordered[max(0, math.ceil(share * len(ordered)) - 1)], 2)
