"""What somebody types, and what comes back."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from simulations.cli import main
from simulations.hunting.mutants import BY_NAME, MUTANTS, switched_on
from simulations.kept_events import packed, unpacked
from simulations.library import named
from simulations.recording import record, save
from simulations.running import run_any
from simulations.scenario import COLLECTORS
from simulations.scenario_file import dump, load
from simulations.seeds.expand import expand

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
    told = sim("run", "--family", "crowds", "--seed", "7").output
    assert "crowd 7" in told
    assert told.splitlines()[-1] == "bizra-sim run --family crowds --seed 7"
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
    result = sim("explore", "--seeds", "6", "--json", "--kinds")
    told = json.loads(result.stdout)
    kinds = told.pop("kinds")
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
    assert sum(kinds.values()) == 6
    assert all("founders" in kind for kind in kinds)


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


FOUR = "seed = 1\nweights = [1, 1, 1, 1]\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed = 1", ["weights"]),
        ("seed = 1\nweights = [1]\ncolour = 3", ["line 3: colour", "known here: name, why"]),
        ("seed = 1\nweights = [1,,]", ["line 2, column 14: ", "written in TOML"]),
        ("seed = 1\nweights = [1,", ["end of document", "written in TOML"]),
        (FOUR + '[[faults]]\nkind = "flood"', ["line 4: faults[0].kind", "clog, crash, cut"]),
        (
            FOUR + '[[faults]]\nkind = "crash"\nnode = 1\nat_s = 1\ndown_ms = 1',
            ["line 6: faults[0].at_s", "did you mean at_ms?"],
        ),
        (
            FOUR + '[[faults]]\nkind = "crash"\nnode = 1\nat_ms = 0.5\ndown_ms = 1',
            ["line 6: faults[0].at_ms", "a whole number of milliseconds"],
        ),
        (
            FOUR + '[[faults]]\nkind = "crash"\nnode = 4\nat_ms = 1\ndown_ms = 1',
            ["line 3: faults[0]", "0 to 3"],
        ),
        (
            FOUR + '[[faults]]\nkind = "lag"\nat_ms = 9\nuntil_ms = 3\nmore_us = 1',
            ["line 3: faults[0]", "until_ms = 3 is before at_ms = 9"],
        ),
        (FOUR + '[network]\njitter_shape = "bell"', ["line 4: network.jitter_shape", "pareto"]),
        (FOUR + "[network]\nloss_ppm = 2000000", ["line 4: network.loss_ppm", "<= 1000000"]),
        (FOUR + '[[actors]]\nnode = 0\nkind = "evil"', ["line 5: actors[0].kind", "twin"]),
        (
            'seed = 1\nweights = [1, 1, 1]\n[[actors]]\nnode = 1\nkind = "silent"',
            ["line 3: actors", "a third"],
        ),
        (
            FOUR + '[[actors]]\nnode = 0\nkind = "snapshot_liar"',
            ["line 5: actors[0].kind", "say snapshots = {"],
        ),
        *(
            (
                FOUR + f'[[actors]]\nnode = 0\nkind = "{kind}"',
                ["line 5: actors[0].kind", "from 32 validators on", "say collected_from = 4"],
            )
            for kind in COLLECTORS
        ),
        (FOUR + 'heal_ms = "5s"', ["line 3: heal_ms", "a whole number of milliseconds"]),
        ("seed = 1\nweights = [1]\nskews_ms = [1, 2]", ["line 3: skews_ms", "clocks"]),
        ('seed = 1\nnodes = 2\ncore = "nowhere"', ["line 3: core", "module:Class"]),
    ],
)
def test_a_file_that_is_no_scenario_is_refused_with_line_key_and_what_is_allowed(
    text: str, told: list[str]
) -> None:
    Path("bad.toml").write_text(text)
    result = sim("run", "bad.toml")
    assert result.exit_code == 2
    for part in ["bad.toml", *told]:
        assert part in result.output


def test_a_file_that_is_not_there_is_named_with_a_way_to_others() -> None:
    result = sim("run", "nowhere.toml")
    assert result.exit_code == 2
    assert "nowhere.toml: no such file; bizra-sim list" in result.output


def test_a_name_that_is_no_scenario_is_refused_with_those_that_are_near() -> None:
    result = sim("run", "two-halfs")
    assert result.exit_code == 2
    assert "did you mean two-halves" in result.output


def test_the_library_is_listed_with_why_each_exists() -> None:
    assert json.loads(sim("list", "--json").output)["calm"] in sim("list").output


def test_a_run_stops_where_it_is_told_and_shows_every_node() -> None:
    told = json.loads(sim("run", "calm", "--break-on", r"n2 +executed +height=3", "--json").output)
    assert "height=3" in told["stopped"]
    assert len(told["states"]) == 4
    assert told["height"] == 3
    until = sim("run", "calm", "--until", "120")
    assert "stopped at 120 ms" in until.output
    assert sim("run", "calm", "--break-on", "(").exit_code == 2


def test_a_trace_can_be_had_as_lines_of_json() -> None:
    sim("run", "calm", "--trace-jsonl", "trace.jsonl")
    told = [json.loads(line) for line in Path("trace.jsonl").read_text().splitlines()]
    assert {"t_us", "who", "kind", "detail"} <= set(told[0])
    messages = [one for one in told if one["kind"] == "message"]
    assert {"to", "arrives_us"} <= set(messages[0])
    assert [one["t_us"] for one in told] == sorted(one["t_us"] for one in told)


def test_a_recorded_run_that_goes_another_way_now_is_told_with_the_events_that_differ() -> None:
    sim("run", "two-phase-commit")
    path = Path("sim-failures/two-phase-commit.toml")
    same = json.loads(sim("replay", str(path), "--json").output)
    assert same["recorded"]["same"]
    before = sim("replay", str(path)).output.splitlines()
    changed = path.read_text().replace("loss_ppm = 100000", "loss_ppm = 250000")
    path.write_text(changed.replace('commit = "', 'commit = "0ld'))
    told = sim("replay", str(path), "--no-trace").output
    assert "recorded with commit 0ld" in told
    assert "not the run that was recorded" in told
    now = sim("replay", str(path)).output.splitlines()
    changes = json.loads(sim("replay", str(path), "--json").output)["recorded"]["changes"]
    gone = {one[2:] for one in changes if one[0] == "-"}
    new = {one[2:] for one in changes if one[0] == "+"}
    assert gone
    assert new
    assert gone <= set(before)
    assert new <= set(now)
    assert all(f"  {one}" in told for one in changes)


def other_hostname() -> tuple[str, ...]:
    """What goes in front of a command for it to run on a host of another name, where this user may do that."""
    unshare = shutil.which("unshare")
    prefix = (unshare or "unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh")
    may = unshare is not None and subprocess.run(
        (*prefix, "true"), check=False, capture_output=True
    )
    return prefix if may and not may.returncode else ()


@pytest.mark.parametrize("name", ["power-cut", "two-phase-commit", "vanishing-executor"])
def test_a_saved_run_is_the_same_to_the_last_byte_wherever_it_is_replayed(name: str) -> None:
    kept = save(named(name), record(named(name))[1]).resolve()
    Path("elsewhere").mkdir()
    done = subprocess.run(
        [*other_hostname(), sys.executable, "-m", "simulations.cli", "replay", str(kept), "--json"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PYTHONHASHSEED": "4711",
            "TZ": "Asia/Kathmandu",
            "LC_ALL": "tr_TR.UTF-8",
            "HOME": "/",
        },
        cwd="elsewhere",
        umask=0o077,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    assert json.loads(done.stdout)["recorded"]["same"]


def test_a_recording_without_its_events_still_tells_the_first_that_differs() -> None:
    sim("run", "two-phase-commit")
    path = Path("sim-failures/two-phase-commit.toml")
    kept = [one for one in path.read_text().splitlines() if not one.startswith("events = ")]
    path.write_text("\n".join(kept).replace("loss_ppm = 100000", "loss_ppm = 250000"))
    assert "the first that differs is now" in sim("replay", str(path), "--no-trace").output


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("events", '"!"', "replay.events: "),
        (
            "events",
            '"eJxjYGRiZmFlY+fg5OLm4eXjFxAUEhYRFROXkJSSlpGVk1dQVFJWUVVT19DU0tbR1dM3MDQyNjE1M7ewtLI="',
            "it ends early",
        ),
        ("lines", '"many"', "replay.lines: Expected `int`"),
        ("colour", "3", "known here: commit, trace"),
    ],
)
def test_a_damaged_recording_is_refused_with_its_line(key: str, value: str, told: str) -> None:
    Path("bad.toml").write_text(FOUR + f'[replay]\ncommit = "a"\ntrace = "b"\n{key} = {value}\n')
    result = sim("replay", "bad.toml")
    assert result.exit_code == 2
    assert "bad.toml: line 6: replay." in result.output
    assert told in result.output


def test_transitions_are_kept_in_one_line_or_not_at_all() -> None:
    lines = [str(at) for at in range(500)]
    assert unpacked(packed(lines)) == tuple(lines)
    assert packed(str(at * 2**64 % 1_000_003) for at in range(50_000)) == ""


def test_where_nothing_can_be_saved_the_folder_is_named() -> None:
    Path("sim-failures").write_text("a file where a folder is wanted")
    result = sim("run", "two-phase-commit")
    assert result.exit_code == 1
    assert "sim-failures: File exists" in result.output


@pytest.mark.parametrize("command", ["shrink", "report"])
def test_a_mistake_that_does_not_exist_is_refused_with_those_that_do(command: str) -> None:
    result = sim(command, "calm", "--mutant", "nothing")
    assert result.exit_code == 2
    assert "prepared_dropped" in result.output


def test_a_scenario_that_breaks_nothing_is_not_shrunk() -> None:
    result = sim("shrink", "calm", "--out", "small.toml")
    assert result.exit_code == 2
    assert "breaks no invariant" in result.output


_SOON_SHRUNK = frozenset({"prepared_dropped", "votes_not_voters", "second_proposal"})
_LONG = (pytest.mark.slow, pytest.mark.timeout(1200))
"""A few break only after hundreds of thousands of messages: up to a minute of CPU."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(one.name, marks=() if one.name in _SOON_SHRUNK else _LONG)
        for one in MUTANTS
        if one.number is not None
    ],
)
def test_what_finds_a_mutant_shrinks_to_thirty_lines_that_replay_byte_for_byte(name: str) -> None:
    with switched_on(BY_NAME[name]):
        quick = (one for one in range(500) if expand(one).signatures == "keyed_hash")
        seed = next(one for one in quick if run_any(expand(one)).violation)
    Path("found.toml").write_text(dump(expand(seed)))
    told = json.loads(sim("shrink", "found.toml", "--mutant", name, "--json").output)
    assert len(Path(told["file"]).read_text().splitlines()) == told["lines"] <= 30
    assert run_any(load(Path(told["file"]))).violation is None, "the sound protocol holds"
    again = sim("replay", told["file"])
    assert again.exit_code == 1
    assert "the same run as was recorded" in again.output


def test_exploring_shows_how_far_it_is_and_ends_cleanly_when_interrupted() -> None:
    parent, child = os.openpty()
    command = (
        sys.executable,
        "-m",
        "simulations.cli",
        "explore",
        "--seeds",
        "100000",
        "--jobs",
        "2",
    )
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=child,
        cwd=Path(__file__).parents[2],
        text=True,
        start_new_session=True,
    ) as process:
        os.close(child)
        shown = b""
        while b"seeds/s" not in shown or b"marks" not in shown:
            shown += os.read(parent, 4096)
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    os.close(parent)
    assert process.returncode == 130
    assert "of 100000, interrupted" in out
    assert b"Traceback" not in shown


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
    told = json.loads(result.stdout)
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


def test_a_run_that_is_stopped_says_how_to_stop_it_again_and_claims_no_more() -> None:
    told = sim("run", "minority-leader", "--until", "900").output.splitlines()
    assert told[-2].startswith("all held so far: height 9")
    assert told[-1] == "bizra-sim run minority-leader --until 900"
    told = sim("run", "minority-leader", "--break-on", "entered .*view=1").output.splitlines()
    assert told[1].startswith("stopped at")
    assert told[-1] == "bizra-sim run minority-leader --break-on 'entered .*view=1'"


def test_waiting_for_what_never_comes_is_told() -> None:
    told = sim("run", "minority-leader", "--break-on", "view 1").output.splitlines()
    assert told[-3] == "no transition has 'view 1' in its line; --trace shows them all"
    assert told[-2].startswith("all held: ")
