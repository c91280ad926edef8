"""Consensus while the embedded model has all the work that it can do: how much later transfers are final.

Four daemons on this machine, a few clients that pay, by turns with all models idle and while one validator's
embeds without a pause, asked by as many callers as keep it busy.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import httpx2

from consensus.genesis import Genesis
from node.bench.consensus import ConsensusFigures, Walls, Work, one_load
from node.bench.inference.callers import DoorError
from node.bench.limits import fdatasync_p50_ms, verifications_per_cpu_second
from node.demo.cluster import Cluster
from node.demo.growth import grow
from node.views.records import JsonObject

_NODES: Final = 4
_CLIENTS: Final = 4
_CALLERS: Final = 2
_TURNS: Final = 3
_TEXTS: Final = ["a sentence of the length that people write, more or less, " * 4] * 16
_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class UnderLoad:
    """Times from submission to finality, each the median of the turns."""

    idle_p50_ms: float
    idle_p99_ms: float
    busy_p50_ms: float
    busy_p99_ms: float
    ratio_p99: float
    sentences_per_s: float
    """What the model did meanwhile."""


def measure(seconds: float, say: Callable[[str], None]) -> UnderLoad:
    """So many seconds without and with load in each turn. Raises `NodeError`."""
    folder = Path(tempfile.mkdtemp(prefix="bizra-bench-"))
    cluster = Cluster(folder)
    try:
        walls = Walls(verifications_per_cpu_second() / _NODES, fdatasync_p50_ms(folder))
        founder = grow(cluster, _NODES, say)
        genesis = Genesis.load(founder.home.genesis.read_bytes())
        work = Work(_CLIENTS, seconds)
        idle: list[ConsensusFigures] = []
        busy: list[ConsensusFigures] = []
        sentences = 0
        for turn in range(1, _TURNS + 1):
            say(f"turn {turn} of {_TURNS}: {_CLIENTS} clients for {seconds:g} s, the model idle")
            idle.append(one_load(cluster, genesis, work, walls))
            say("the same with the model busy")
            with _busy(cluster.members[-1].client.url) as done:
                busy.append(one_load(cluster, genesis, work, walls))
            sentences += done[0]
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    idle_p99_ms, busy_p99_ms = (median(one.p99_ms for one in runs) for runs in (idle, busy))
    return UnderLoad(
        median(one.p50_ms for one in idle),
        idle_p99_ms,
        median(one.p50_ms for one in busy),
        busy_p99_ms,
        round(busy_p99_ms / idle_p99_ms, 2),
        round(sentences / sum(one.transactions / one.tps for one in busy), 1),
    )


@contextmanager
def _busy(url: str) -> Iterator[list[int]]:
    """Keep the model at work; the number of its sentences grows in the list. Raises `DoorError`."""
    done, faults, stop = [0], list[str](), threading.Event()
    body: JsonObject = {"model": "all-MiniLM-L6-v2", "input": _TEXTS}

    def ask() -> None:
        headers = {"Cache-Control": "no-cache"}
        with httpx2.Client(base_url=url, trust_env=False, timeout=_TIMEOUT_S) as http:
            while not stop.is_set():
                answer = http.post("/v1/embeddings", json=body, headers=headers)
                if answer.status_code != httpx2.codes.OK:
                    faults.append(answer.text[:300])
                    return
                done[0] += len(_TEXTS)

    callers = [threading.Thread(target=ask, daemon=True) for _ in range(_CALLERS)]
    for caller in callers:
        caller.start()
    try:
        yield done
    finally:
        stop.set()
        for caller in callers:
            caller.join(_TIMEOUT_S)
    if faults:
        raise DoorError(f"the model did not embed: {faults[0]}")
