"""What somebody types, and what comes back."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from simulations.cli import main
from simulations.mutants import MUTANTS, switched_on

SCENARIO = """
name = "four nodes"
seed = 7
weights = [1, 1, 1, 1]
heal_ms = 2000

[[faults]]
kind = "crash"
node = 1
at_ms = 200
down_ms = 300
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sim(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_a_run_prints_the_scenario_first_and_how_to_repeat_it_last() -> None:
    lines = sim("run", "--seed", "3").output.splitlines()
    assert lines[0].startswith("commit ")
    assert '"weights"' in lines[0]
    assert lines[-1] == "bizra-sim run --seed 3"


def test_a_run_again_has_the_same_trace() -> None:
    told = [json.loads(sim("run", "--seed", "5", "--json").output) for _ in range(2)]
    assert told[0]["violation"] is None
    assert told[0]["trace_hash"] == told[1]["trace_hash"]
    assert told[0]["messages"] > 0


def test_a_scenario_file_runs_with_its_transitions() -> None:
    Path("four.toml").write_text(SCENARIO)
    result = sim("run", "four.toml", "--trace")
    assert result.exit_code == 0
    assert "crashed" in result.output
    assert "executed     height=1" in result.output


def test_exploring_counts_everything() -> None:
    result = sim("explore", "--seeds", "6", "--json")
    told = json.loads(result.output)
    assert result.exit_code == 0
    assert told["scenarios"] == 6
    assert told["violations"] == []
    assert set(told) == {
        "scenarios",
        "violations",
        "messages",
        "events",
        "wall_s",
        "messages_per_s",
        "scenarios_per_s",
        "marks",
        "commit",
    }


def test_what_is_found_is_saved_and_replayed_byte_for_byte() -> None:
    broken = next(mutant for mutant in MUTANTS if mutant.name == "short_certificates")
    with switched_on(broken):
        found = sim("explore", "--seeds", "3", "--json")
        assert found.exit_code == 1
        violation = json.loads(found.output)["violations"][0]
        first, second = (sim("replay", violation["file"]) for _ in range(2))
    assert violation["reproduce"] == f"bizra-sim replay {violation['file']}"
    assert first.exit_code == second.exit_code == 1
    assert str(violation["violation"]).partition(":")[0] in first.output
    assert [line for line in first.output.splitlines() if " virtual ms in " not in line] == [
        line for line in second.output.splitlines() if " virtual ms in " not in line
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed = 1", "weights"),
        ("seed = 1\nweights = [1]\ncolour = 3", "line 3"),
        ("seed = 1\nweights = [1,,]", "line 2"),
        ('seed = 1\nweights = [1]\n[[faults]]\nkind = "flood"', "crash, cut"),
        (
            'seed = 1\nweights = [1]\n[[faults]]\nkind = "crash"\nnode = 4\nat_ms = 1\ndown_ms = 1',
            "0 to 0",
        ),
        ('seed = 1\nweights = [1, 1, 1]\n[[actors]]\nnode = 1\nkind = "silent"', "a third"),
        ('seed = 1\nweights = [1]\nheal_ms = "5s"', "heal_ms"),
        ("seed = 1\nweights = [1]\nskews_ms = [1, 2]", "clocks"),
    ],
)
def test_a_file_that_is_no_scenario_is_refused_with_the_reason(text: str, told: str) -> None:
    Path("bad.toml").write_text(text)
    result = sim("run", "bad.toml")
    assert result.exit_code == 2
    assert told in result.output
    assert "bad.toml" in result.output


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_missing_or_binary_file_is_refused(content: bytes | None) -> None:
    if content is not None:
        Path("bad.toml").write_bytes(content)
    result = sim("replay", "bad.toml")
    assert result.exit_code == 2
    assert "bad.toml" in result.output


def test_a_mutant_that_does_not_exist_is_refused_with_those_that_do() -> None:
    result = sim("mutants", "--only", "nothing")
    assert result.exit_code == 2
    assert "prepared_dropped" in result.output


def test_mutants_are_counted_beside_the_sound_protocol() -> None:
    result = sim("mutants", "--only", "short_certificates", "--seeds", "3", "--json")
    told = json.loads(result.output)
    assert result.exit_code == 0
    assert told["false_alarms"] == []
    assert told["mutants"][0]["detected"]


def test_the_simulator_needs_no_network_library() -> None:
    code = "import sys, simulations.cli; print([name for name in ('libp2p', 'trio', 'plyvel') if name in sys.modules])"
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert told.stdout.strip() == "[]"
