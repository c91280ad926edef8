"""The sound protocol over many seeds, twice: nothing breaks, the rare things happen, equal seeds give equal runs."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from simulations.hunting.explore import explore
from simulations.seeds.families import SOMETIMES

SEEDS = 300
WHOLE = 16
"""Seeds of whole nodes, tasks and all."""

ALL = """
import json, sys
from simulations.hunting.explore import explore
told = explore(range(int(sys.argv[1])), 1, family=sys.argv[2])
print(json.dumps({**told.as_json(), "hashes": told.hashes}))
"""


@pytest.fixture(scope="module")
def twice() -> list[dict[str, Any]]:
    """All seeds in two processes, whose hash functions differ."""
    return under_two_hashes(SEEDS, "federations")


def under_two_hashes(seeds: int, family: str) -> list[dict[str, Any]]:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", ALL, str(seeds), family],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            text=True,
        )
        for hash_seed in ("1", "4242")
    ]
    return [json.loads(process.communicate(timeout=600)[0]) for process in running]


@pytest.mark.timeout(600)
def test_no_invariant_breaks_in_any_seed(twice: list[dict[str, Any]]) -> None:
    assert twice[0]["scenarios"] == SEEDS
    assert twice[0]["violations"] == []


@pytest.mark.timeout(600)
def test_equal_seeds_give_equal_traces_whatever_python_hashes(twice: list[dict[str, Any]]) -> None:
    assert len(set(twice[0]["hashes"].values())) == SEEDS
    assert twice[0]["hashes"] == twice[1]["hashes"]


@pytest.mark.timeout(600)
def test_whole_nodes_hold_and_run_equally_too() -> None:
    one, other = under_two_hashes(WHOLE, "whole-nodes")
    assert one["violations"] == []
    assert one["hashes"] == other["hashes"]
    assert len(set(one["hashes"].values())) == WHOLE
    assert [mark for mark in SOMETIMES["whole-nodes"] if not one["marks"][mark]] == []


@pytest.mark.parametrize("mark", SOMETIMES["federations"])
def test_what_rarely_happens_happens_in_these_seeds(twice: list[dict[str, Any]], mark: str) -> None:
    assert twice[0]["marks"][mark] > 0


def test_several_processes_come_to_the_same_as_one() -> None:
    one, two = explore(range(6), 1), explore(range(6), 2)
    assert one.hashes == two.hashes
    assert one.marks == two.marks


def test_what_must_happen_sometimes_is_told_even_if_it_never_did() -> None:
    told = explore(range(1), 1, family="latecomers").as_json()["marks"]
    assert isinstance(told, dict)
    assert "snapshot taken" in told
    few = explore(range(1), 1, family="registries").marks
    assert few["seat lost"] == 0
    assert "seat lost" in few
