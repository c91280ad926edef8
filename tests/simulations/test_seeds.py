"""The sound protocol over many seeds: nothing breaks, the rare things happen, and equal seeds give equal runs."""

import json
import os
import subprocess
import sys

import pytest

from simulations.explore import Summary, explore

SEEDS = 200
TWICE = 30

RARE = (
    "crash between prepared and commit",
    "epoch change",
    "epoch change under a partition",
    "equivocation seen",
    "re-proposal after a view change",
    "restart while asking for a view",
    "blocks fetched",
    "view change while prepared",
)

HASHES = """
import json, sys
from simulations.explore import run_seed
print(json.dumps({seed: run_seed(seed).trace_hash for seed in range(int(sys.argv[1]))}))
"""


@pytest.fixture(scope="module")
def summary() -> Summary:
    return explore(range(SEEDS), jobs=2)


@pytest.mark.timeout(600)
def test_no_invariant_breaks_in_any_seed(summary: Summary) -> None:
    assert summary.scenarios == SEEDS
    assert summary.violations == []


@pytest.mark.parametrize("mark", RARE)
def test_what_rarely_happens_happens_in_these_seeds(summary: Summary, mark: str) -> None:
    assert summary.marks[mark] > 0


@pytest.mark.timeout(300)
def test_equal_seeds_give_equal_traces_in_another_process(summary: Summary) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", HASHES, str(TWICE)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            text=True,
        )
        for hash_seed in ("1", "4242")
    ]
    for process in running:
        told, _ = process.communicate(timeout=300)
        hashes = {int(seed): one for seed, one in json.loads(told).items()}
        assert hashes == {seed: summary.hashes[seed] for seed in range(TWICE)}
