"""Many seeds over several processes, and what came of them in one summary."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from time import perf_counter

from simulations.hunting.rubbish import collect_seldom, collected_seldom
from simulations.recording import commit
from simulations.running import run_any, setting_of_seed
from simulations.scenario import Scenario
from simulations.seeds.families import SOMETIMES, Family
from simulations.worlds.result import Result
from simulations.worlds.setting import Setting

_LOOK_S = 0.2
"""How long an interrupt may wait for a result before it is seen."""


@dataclass(frozen=True, slots=True)
class Run:
    """The part of a result that is worth sending from one process to another."""

    seed: int
    violation: str | None
    trace_hash: str
    messages: int
    events: int
    marks: dict[str, int]
    kind: str = ""
    """What sort of federation it was: how many founders and liars, of unequal weight, growing, with new epochs."""


@dataclass(slots=True)
class Summary:
    """What `explore --json` prints."""

    scenarios: int = 0
    violations: list[dict[str, object]] = field(default_factory=list)
    messages: int = 0
    events: int = 0
    wall_s: float = 0.0
    marks: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    hashes: dict[int, str] = field(default_factory=dict)
    commit: str = ""
    is_interrupted: bool = False

    def add(self, one: Run) -> None:
        """Count one run."""
        self.scenarios += 1
        self.messages += one.messages
        self.events += one.events
        self.marks.update(one.marks)
        self.kinds[one.kind] += 1
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


def run_seed(seed: int, core: str | None = None, family: Family = "federations") -> Run:
    """One seed; the unit of work of a process."""
    setting = setting_of_seed(seed, core, family)
    result: Result = run_any(setting)
    return Run(
        seed,
        result.violation,
        result.trace_hash,
        result.messages,
        result.events,
        result.marks,
        _kind(setting, result.marks),
    )


def _kind(setting: Setting, marks: Mapping[str, int]) -> str:
    if not isinstance(setting, Scenario):
        return f"{setting.nodes} nodes"
    traits = {
        "unequal": len(set(setting.weights)) > 1,
        "growing": bool(setting.joiners),
        "new epochs": "epoch change" in marks,
    }
    heads = f"{setting.founders} founders", f"{len(setting.liars)} liars"
    return ", ".join((*heads, *(name for name, has in traits.items() if has)))


def explore(
    seeds: Iterable[int],
    jobs: int,
    tell: Callable[[Run, Summary], None] | None = None,
    *,
    core: str | None = None,
    family: Family = "federations",
) -> Summary:
    """Run all seeds; `tell` hears of each as it comes in, in no particular order.

    What must happen sometimes is among the marks even if it never has.

    An interrupt ends it early: the summary then has what came in before, and says so.
    """
    hoped_for = SOMETIMES[family] if core is None else ()
    summary = Summary(commit=commit(), marks=Counter(dict.fromkeys(hoped_for, 0)))
    begin = perf_counter()
    with _interrupts() as interrupted, collected_seldom():
        for one in _runs(partial(run_seed, core=core, family=family), seeds, jobs, interrupted):
            summary.add(one)
            if one.violation is not None:
                summary.violations.append({"seed": one.seed, "violation": one.violation})
            summary.wall_s = perf_counter() - begin
            if tell is not None:
                telling = perf_counter()
                tell(one, summary)
                if jobs == 1:  # else the others go on meanwhile; what broke may be shrunk here
                    begin += perf_counter() - telling
    summary.is_interrupted = interrupted.is_set()
    summary.violations.sort(key=lambda found: str(found["seed"]).zfill(20))
    return summary


@contextmanager
def _interrupts() -> Iterator[Event]:
    """Set by an interrupt, in place of an exception in the middle of anything, which a pool need not survive."""
    interrupted = Event()
    former = signal.signal(signal.SIGINT, lambda _number, _frame: interrupted.set())
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, former)


def _runs(
    one: Callable[[int], Run], seeds: Iterable[int], jobs: int, interrupted: Event
) -> Iterator[Run]:
    """The runs as they end, until there are no more or an interrupt came."""
    if jobs <= 1:
        for seed in seeds:
            if interrupted.is_set():
                return
            yield one(seed)
        return
    context = multiprocessing.get_context("spawn")
    with _unheard_by_workers():
        pool = context.Pool(jobs, _begin_worker, (sys.path[0],))
    with pool:
        results = pool.imap_unordered(one, seeds)
        while not interrupted.is_set():
            try:
                yield results.next(_LOOK_S)
            except multiprocessing.TimeoutError:
                continue
            except StopIteration:
                return


@contextmanager
def _unheard_by_workers() -> Iterator[None]:
    """A worker that an interrupt ends while it begins could leave the pool waiting for it."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _begin_worker(folder: str) -> None:
    """An interrupt is for the parent, which then ends its workers; guests are found where the parent finds them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    collect_seldom()
    if folder not in sys.path:
        sys.path.insert(0, folder)
