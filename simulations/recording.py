"""Saved runs: a scenario file that remembers its run, and what differs when it is run again."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from importlib.metadata import PackageNotFoundError, version
from itertools import islice, takewhile
from pathlib import Path

import msgspec

from simulations.kept_events import packed, unpacked
from simulations.running import run_any
from simulations.scenario_file import Replay, dump
from simulations.worlds.result import Result
from simulations.worlds.setting import Setting
from simulations.worlds.trace import MARK_CHARS, Entry, Trace

FOLDER = Path("sim-failures")
_MOST_MARKS = 256


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a run goes another way than the one that was recorded."""

    agreeing: int
    """So many transitions are the same in both."""
    now: tuple[str, ...]
    """The next ones as they are now; the first that differs is among them. Empty: the run ends earlier now."""
    changes: tuple[str, ...] = ()
    """Transitions that are gone, after a minus, and new ones, after a plus; only if the recording has its own."""


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


def record(setting: Setting, mutant: str = "") -> tuple[Result, Replay]:
    """Run a scenario and remember the run."""
    lines: list[str] = []
    trace = Trace(lambda entry: lines.append(str(entry)))
    result = run_any(setting, trace)
    return result, Replay(
        commit=commit(),
        trace=result.trace_hash,
        violation=result.violation or "",
        lines=trace.lines,
        marks=_thinned(trace.marks, _stride(trace.lines)),
        events=packed(lines),
        mutant=mutant,
    )


def save(setting: Setting, replay: Replay, folder: Path = FOLDER) -> Path:
    """Keep a scenario with its run, in a file that says how to see it again."""
    folder.mkdir(parents=True, exist_ok=True)
    name = (setting.name or "scenario").replace(" ", "-").replace("/", "-")
    path = folder / f"{name}.toml"
    path.write_text(dump(setting, f"bizra-sim replay {path}", replay), encoding="utf-8")
    return path


def renamed(setting: Setting, name: str, why: str) -> Setting:
    """The same scenario under another name."""
    changed: Setting = msgspec.structs.replace(setting, name=name, why=why)
    return changed


def _stride(lines: int) -> int:
    return max(1, -(-lines // _MOST_MARKS))


def _thinned(marks: str, stride: int) -> str:
    """Every `stride`-th mark."""
    places = range(stride - 1, len(marks) // MARK_CHARS, stride)
    return "".join(marks[at * MARK_CHARS : (at + 1) * MARK_CHARS] for at in places)


class Comparison:
    """Listens to a run and holds it against a recorded one."""

    def __init__(
        self,
        replay: Replay,
        further: Callable[[Entry], None] | None = None,
        *,
        messages: bool = False,
    ) -> None:
        self._replay, self._further = replay, further
        self._lines: list[str] = []
        self.trace = Trace(self._hear, messages=messages)

    def _hear(self, entry: Entry) -> None:
        if entry.kind != "message":
            self._lines.append(str(entry))
        if self._further is not None:
            self._further(entry)

    def difference(self) -> Difference | None:
        """Where the run differs from the recorded one, once it is over; None if they are the same to the end."""
        replay = self._replay
        if self.trace.hash == replay.trace:
            return None
        stride = _stride(replay.lines)
        now, then = _thinned(self.trace.marks, stride), replay.marks
        same = 0
        while now[same : same + MARK_CHARS] == then[same : same + MARK_CHARS] != "":
            same += MARK_CHARS
        agreeing = same // MARK_CHARS * stride
        if not replay.events:
            return Difference(agreeing, tuple(self._lines[agreeing : agreeing + stride]))
        changes = _changes(unpacked(replay.events), self._lines)
        pairs = zip(unpacked(replay.events), self._lines, strict=False)
        agreeing = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        return Difference(agreeing, tuple(self._lines[agreeing : agreeing + 1]), changes)


def _changes(then: Sequence[str], now: Sequence[str]) -> tuple[str, ...]:
    compared = unified_diff(then, now, n=0, lineterm="")
    return tuple(f"{one[0]} {one[1:]}" for one in islice(compared, 2, None) if one[0] in "-+")
