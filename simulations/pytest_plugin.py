"""A pytest fixture for whoever writes a core: `pytest_plugins = ["simulations.pytest_plugin"]`.

    def test_two_phase_commit(simulate):
        simulate("mine.commit:TwoPhaseCommit", seeds=200)

A broken invariant fails the test with the smallest scenario that breaks it, its last transitions, and a file that
`bizra-sim replay` and `bizra-sim report` take.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from simulations.guest import Guest
from simulations.hunting.shrink import shrink
from simulations.recording import record, renamed, save
from simulations.running import run_any, setting_of_seed
from simulations.scenario_file import dump
from simulations.worlds.result import Result
from simulations.worlds.setting import Setting
from simulations.worlds.trace import Trace

_LAST_LINES = 15
_SHRINK_RUNS = 200
_SHRINK_EVENTS = 500_000


@dataclass(slots=True)
class Simulated:
    """What came of all seeds, if nothing broke."""

    scenarios: int = 0
    messages: int = 0
    marks: Counter[str] = field(default_factory=Counter)


class Simulate:
    """Runs scenarios, and fails the test at the first that breaks an invariant."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(
        self,
        core: str | type[Guest] | None = None,
        *,
        seeds: int | Iterable[int] = 100,
        scenarios: Iterable[Setting] = (),
    ) -> Simulated:
        """Run these seeds of a guest (of Bizra's own cores if `core` is None), or these scenarios instead."""
        name = core if core is None or isinstance(core, str) else _name_of(core)
        wanted = range(seeds) if isinstance(seeds, int) else seeds
        told = Simulated()
        for setting in scenarios or (setting_of_seed(seed, name) for seed in wanted):
            result = run_any(setting)
            told.scenarios += 1
            told.messages += result.messages
            told.marks.update(result.marks)
            if result.violation is not None:
                pytest.fail(self._explained(setting, result), pytrace=False)
        return told

    def _explained(self, setting: Setting, first: Result) -> str:
        small = shrink(setting, _SHRINK_RUNS, most_events=_SHRINK_EVENTS).setting
        named = renamed(small, f"{setting.name or 'scenario'} small", f"shrunk; {first.violation}")
        result, replay = record(named)
        path = save(named, replay, self._folder)
        last: deque[str] = deque(maxlen=_LAST_LINES)
        run_any(named, Trace(lambda entry: last.append(str(entry))))
        return "\n".join(
            (
                f"{setting.name}: {first.violation}",
                f"shrunk: {result.violation}",
                "",
                dump(named),
                f"the last of {replay.lines} transitions:",
                *last,
                "",
                f"bizra-sim replay {path}",
                f"bizra-sim report {path}",
            )
        )


def _name_of(core: type[Guest]) -> str:
    return f"{core.__module__}:{core.__qualname__}"


@pytest.fixture
def simulate(tmp_path: Path) -> Callable[..., Simulated]:
    """Run a core, or Bizra's own, under many seeds; see `Simulate`."""
    return Simulate(tmp_path)
