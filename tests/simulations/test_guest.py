"""Somebody else's protocol: run, found broken, shrunk, drawn, and tested by its own makers."""

import ast
import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from simulations.cli import main
from simulations.examples import two_phase_commit
from simulations.guest_world import GuestScenario, guest_seed
from simulations.hunting.shrink import shrink
from simulations.running import run_any, setting_of_seed
from simulations.scenario_file import dump, load, parse

pytest_plugins = ["pytester"]

CORE = "simulations.examples.two_phase_commit:TwoPhaseCommit"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def first_broken() -> GuestScenario:
    broken = (seed for seed in range(50) if run_any(guest_seed(CORE, seed)).violation)
    return guest_seed(CORE, next(broken))


def test_the_example_needs_nothing_of_consensus_and_fits_two_screens() -> None:
    text = Path(two_phase_commit.__file__).read_text()
    imported = {
        name.module if isinstance(name, ast.ImportFrom) else name.names[0].name
        for name in ast.walk(ast.parse(text))
        if isinstance(name, ast.Import | ast.ImportFrom)
    }
    assert imported == {"simulations", "simulations.guest"}
    assert len([line for line in text.splitlines() if line.strip()]) <= 70


def test_the_planted_mistake_breaks_atomicity_and_without_it_nothing_breaks() -> None:
    broken = sum(run_any(guest_seed(CORE, seed)).violation is not None for seed in range(60))
    assert broken > 5
    for seed in range(60):
        patient = msgspec.structs.replace(guest_seed(CORE, seed), parameters={"gives_up": False})
        assert run_any(patient).violation is None


def test_a_counterexample_shrinks_to_a_few_lines_that_break_the_same() -> None:
    small = shrink(first_broken())
    text = dump(small.setting)
    assert len(text.splitlines()) <= 15
    assert small.result.violation is not None
    assert small.result.violation.startswith("atomicity")
    assert run_any(parse(text, "small")).trace_hash == small.result.trace_hash


def test_a_guest_is_explored_shrunk_and_replayed_from_the_command_line() -> None:
    found = CliRunner().invoke(main, ["explore", "--core", CORE, "--seeds", "20", "--json"])
    told = json.loads(found.output)
    assert found.exit_code == 1
    assert told["violations"]
    again = CliRunner().invoke(main, ["replay", told["violations"][0]["file"]])
    assert again.exit_code == 1
    assert "the same run as was recorded" in again.output
    assert isinstance(load(Path(told["violations"][0]["file"])), GuestScenario)


@pytest.mark.parametrize(
    ("core", "told"),
    [
        ("nonsense", "module:Class"),
        ("no.such.module:Guest", "can't be imported"),
        ("simulations.guest:Nobody", "has no class Nobody"),
        ("simulations.guest:Place", "derives from Guest"),
    ],
)
def test_a_core_that_is_not_there_is_refused_with_what_to_write(core: str, told: str) -> None:
    result = CliRunner().invoke(main, ["run", "--core", core])
    assert result.exit_code == 2
    assert told in result.output


def test_a_crash_loses_memory_and_keeps_what_was_written() -> None:
    scenario = setting_of_seed(3, CORE)
    assert isinstance(scenario, GuestScenario)
    result = run_any(scenario)
    assert result.messages > 0
    assert result.trace_hash == run_any(scenario).trace_hash


OWN_TEST = """
pytest_plugins = ["simulations.pytest_plugin"]

def test_commit(simulate):
    simulate("simulations.examples.two_phase_commit:TwoPhaseCommit", seeds=40)

def test_own_cores(simulate):
    assert simulate(seeds=2).messages > 0
"""


def test_the_fixture_fails_a_test_with_the_smallest_scenario(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(OWN_TEST)
    told = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    told.assert_outcomes(passed=1, failed=1)
    told.stdout.fnmatch_lines(["*shrunk: atomicity*", "*bizra-sim replay *"])
