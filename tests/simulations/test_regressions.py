"""Scenarios that once broke something. None is ever taken away."""

from pathlib import Path

import pytest

from simulations.running import run_any
from simulations.scenario_file import dump, load, parse

FILES = sorted((Path(__file__).parent / "regressions").glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_once_broke_holds(path: Path) -> None:
    assert run_any(load(path)).violation is None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_regression_says_why_it_exists_and_is_written_as_we_write(path: Path) -> None:
    scenario = load(path)
    assert scenario.why
    assert parse(dump(scenario), "again") == scenario
