"""Hunting mutants: how many scenarios it takes until somebody notices, from several starting points.

A hunt walks the seeds from its starting point on until one breaks an invariant or the limit is reached. Afterwards the
sound protocol runs all the seeds that were walked: an alarm there is a false one.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from simulations.hunting.mutants import BY_NAME, Mutant, switched_on
from simulations.running import run_any
from simulations.scenario import Scenario
from simulations.seeds.campaigns import tier_of
from simulations.seeds.families import FAMILIES, Family

STRIDE = 100_000
"""How far starting points lie apart."""


@dataclass(frozen=True, slots=True)
class Found:
    """How a hunt for one mutant went."""

    name: str
    tried: int
    detections: int
    first: int | None
    """The number of scenarios it took, counted from 1."""
    how: str
    tier: str = ""
    """What the first scenario that noticed it is made of."""


def hunt(mutant: Mutant, scenarios: Iterable[Scenario], *, stop_at_first: bool = False) -> Found:
    """Run scenarios against a broken core."""
    tried = detections = 0
    first: int | None = None
    how = tier = ""
    with switched_on(mutant):
        for scenario in scenarios:
            tried += 1
            violation = run_any(scenario).violation
            if violation is not None:
                detections += 1
                if first is None:
                    first, how, tier = tried, violation, tier_of(scenario)
                if stop_at_first:
                    break
    return Found(mutant.name, tried, detections, first, how, tier)


def hunt_seeds(mutant: Mutant, seeds: Iterable[int], *, stop_at_first: bool = False) -> Found:
    """Run the scenarios of seeds against a broken core."""
    return hunt(mutant, map(FAMILIES[mutant.family], seeds), stop_at_first=stop_at_first)


@dataclass(frozen=True, slots=True)
class Score:
    """One mutant's line on the scoreboard."""

    mutant: Mutant
    hunts: tuple[Found, ...]

    @property
    def detected(self) -> bool:
        """Whether every hunt ended in a detection."""
        return all(one.first is not None for one in self.hunts)

    @property
    def waits(self) -> list[int]:
        """How many scenarios each hunt took, shortest first; those that found nothing count as their limit."""
        return sorted(one.tried if one.first is None else one.first for one in self.hunts)

    def percentile(self, share: int) -> int | None:
        """The nearest-rank percentile of the seeds to detection, None if hunts in it found nothing."""
        place = max(0, -(-share * len(self.hunts) // 100) - 1)
        found = sorted(one.first for one in self.hunts if one.first is not None)
        return found[place] if place < len(found) else None

    def as_json(self) -> dict[str, object]:
        """What `bizra-sim mutants --json` prints of it."""
        tiers = Counter(one.tier for one in self.hunts if one.first is not None)
        tried = sum(one.tried for one in self.hunts)
        return {
            "name": self.mutant.name,
            "number": self.mutant.number,
            "what": self.mutant.what,
            "detected": self.detected,
            "detection_rate": round(sum(one.detections for one in self.hunts) / tried, 5),
            "seeds_to_detection": self.percentile(50),
            "seeds_to_detection_p95": self.percentile(95),
            "tier": tiers.most_common(1)[0][0] if tiers else None,
            "tiers": dict(sorted(tiers.items())),
            "hunts": [one.first for one in self.hunts],
            "tried": tried,
            "how": next((one.how for one in self.hunts if one.how), None),
        }


@dataclass(frozen=True, slots=True)
class _Job:
    """One hunt, or with no mutant the sound protocol over some seeds."""

    mutant: str | None
    first: int
    seeds: int
    stop_at_first: bool = True
    family: Family = "federations"


def _work(job: _Job) -> tuple[_Job, Found | list[dict[str, object]]]:
    seeds = range(job.first, job.first + job.seeds)
    if job.mutant is not None:
        return job, hunt_seeds(BY_NAME[job.mutant], seeds, stop_at_first=job.stop_at_first)
    alarms: list[dict[str, object]] = []
    for seed in seeds:
        violation = run_any(FAMILIES[job.family](seed)).violation
        if violation is not None:
            alarms.append({"family": job.family, "seed": seed, "violation": violation})
    return job, alarms


def scoreboard(
    mutants: Sequence[Mutant],
    *,
    seeds: int,
    starts: int,
    jobs: int = 1,
    stop_at_first: bool = True,
    tell: Callable[[Found], None] | None = None,
) -> tuple[list[Score], list[dict[str, object]]]:
    """Hunt each mutant from every starting point over at most `seeds` seeds; then look for false alarms.

    The sound protocol runs every seed that a hunt walked over.
    """
    hunts: dict[str, list[Found]] = {mutant.name: [] for mutant in mutants}
    walked: dict[tuple[Family, int], int] = {}
    firsts = [start * STRIDE for start in range(starts)]
    work = [
        _Job(mutant.name, first, seeds, stop_at_first) for mutant in mutants for first in firsts
    ]
    for job, found in _results(work, jobs):
        assert isinstance(found, Found)
        hunts[found.name].append(found)
        place = BY_NAME[found.name].family, job.first
        walked[place] = max(walked.get(place, 0), found.tried)
        if tell is not None:
            tell(found)
    pieces = [
        _Job(None, first + begin, min(_PIECE, count - begin), family=family)
        for (family, first), count in sorted(walked.items())
        for begin in range(0, count, _PIECE)
    ]
    alarms: list[dict[str, object]] = []
    for _, told in _results(pieces, jobs):
        assert isinstance(told, list)
        alarms += told
    return [Score(mutant, tuple(hunts[mutant.name])) for mutant in mutants], alarms


_PIECE = 25


def _results(work: list[_Job], jobs: int) -> Iterator[tuple[_Job, Found | list[dict[str, object]]]]:
    if jobs <= 1:
        yield from map(_work, work)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_work, work, chunksize=1)
