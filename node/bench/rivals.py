"""Other systems under the same load in the same run, for scale: 128-byte writes in a closed loop, all on loopback.

What each promises differs, and stands beside its figures: most bear crashes only, so that nothing is signed and one
node that lies is believed. They are not ours to ship; each is used where it is installed.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
    signed: bool
    byzantine: bool


@dataclass(frozen=True, slots=True)
class Rival:
    """How to run one: start so many servers below a folder, perhaps warm them, then load them for so many seconds.

    The latencies, in seconds, are taken from what `load` returns when the servers' CPU has been read.
    """

    system: str
    note: str
    start: Callable[[Path, int], Sequence[Popen[bytes]]]
    load: Callable[[Sequence[Popen[bytes]], int, float], Iterable[float]]
    durable: bool
    signed: bool = False
    byzantine: bool = False
    warm: Callable[[Sequence[Popen[bytes]], int], Sequence[Popen[bytes]]] | None = None
    """Starts so many clients, and returns them when they and the servers go at full speed."""


def measure_rival(
    rival: Rival, nodes: int, clients: int, seconds: float, say: Callable[[str], None]
) -> RivalFigures:
    """Start it, load it, stop it. Raises `NodeError`."""
    folder = Path(tempfile.mkdtemp(prefix="bizra-rival-"))
    try:
        say(f"starting {nodes} servers of {rival.system}")
        with _running(rival.start(folder, nodes)) as servers, ExitStack() as others:
            if rival.warm is not None:
                say("warming up")
                others.enter_context(_running(rival.warm(servers, clients)))
            say(f"{clients} clients for {seconds:g} s")
            before, began = sum(cpu_seconds(one.pid) for one in servers), time.perf_counter()
            answers = rival.load(servers, clients, seconds)
            took_s = time.perf_counter() - began
            spent = sum(cpu_seconds(one.pid) for one in servers) - before
            latencies = sorted(answers)
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
        signed=rival.signed,
        byzantine=rival.byzantine,
    )


@contextmanager
def _running(servers: Sequence[Popen[bytes]]) -> Iterator[Sequence[Popen[bytes]]]:
    try:
        yield servers
    finally:
        stop(servers)


def stop(servers: Sequence[Popen[bytes]]) -> None:
    """End them, by force if they don't end when asked."""
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
