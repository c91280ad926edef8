"""Many seeds over several processes, and what came of them in one summary."""

from __future__ import annotations

import multiprocessing
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

from simulations.expand import expand
from simulations.federation import run
from simulations.world import Result


@dataclass(frozen=True, slots=True)
class Run:
    """The part of a result that is worth sending from one process to another."""

    seed: int
    violation: str | None
    trace_hash: str
    messages: int
    events: int
    marks: dict[str, int]


@dataclass(slots=True)
class Summary:
    """What `explore --json` prints."""

    scenarios: int = 0
    violations: list[dict[str, object]] = field(default_factory=list)
    messages: int = 0
    events: int = 0
    wall_s: float = 0.0
    marks: Counter[str] = field(default_factory=Counter)
    hashes: dict[int, str] = field(default_factory=dict)
    commit: str = ""

    def add(self, one: Run) -> None:
        """Count one run."""
        self.scenarios += 1
        self.messages += one.messages
        self.events += one.events
        self.marks.update(one.marks)
        self.hashes[one.seed] = one.trace_hash

    def as_json(self) -> dict[str, object]:
        """The keys that others rely on."""
        wall_s = max(self.wall_s, 1e-9)
        return {
            "scenarios": self.scenarios,
            "violations": self.violations,
            "messages": self.messages,
            "events": self.events,
            "wall_s": round(self.wall_s, 3),
            "messages_per_s": round(self.messages / wall_s),
            "scenarios_per_s": round(self.scenarios / wall_s, 2),
            "marks": dict(sorted(self.marks.items())),
            "commit": self.commit,
        }


def run_seed(seed: int) -> Run:
    """One seed; the unit of work of a process."""
    result: Result = run(expand(seed))
    return Run(
        seed,
        result.violation,
        result.trace_hash,
        result.messages,
        result.events,
        result.marks,
    )


def explore(
    seeds: Iterable[int], jobs: int, tell: Callable[[Run, Summary], None] | None = None
) -> Summary:
    """Run all seeds; `tell` hears of each as it comes in, in no particular order."""
    summary = Summary(commit=commit())
    begin = perf_counter()
    for one in _runs(seeds, jobs):
        summary.add(one)
        if one.violation is not None:
            summary.violations.append({"seed": one.seed, "violation": one.violation})
        summary.wall_s = perf_counter() - begin
        if tell is not None:
            tell(one, summary)
    summary.violations.sort(key=lambda found: str(found["seed"]).zfill(20))
    return summary


def _runs(seeds: Iterable[int], jobs: int) -> Iterator[Run]:
    if jobs <= 1:
        yield from map(run_seed, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(run_seed, seeds, chunksize=4)


def commit() -> str:
    """The commit this code is of, with a + if it was changed since; else the installed version."""
    here = Path(__file__).resolve().parent
    git = ("git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty=+")
    try:
        told = subprocess.run(git, capture_output=True, text=True, check=True, timeout=10)
        return told.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        pass
    try:
        return version("bizra-node")
    except PackageNotFoundError:
        return "unknown"
