"""`bizra-node demo` as a user calls it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from node.client import Client
from node.storage.home import Home
from tests.node.e2e.daemons import PROGRAM, until

pytestmark = pytest.mark.timeout(180)


def _processes_in(folder: Path) -> list[int]:
    """Whose command line names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
            if str(folder).encode() in line:
                found.append(int(entry.name))
    return found


def _demo(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [*PROGRAM, "demo", *arguments],
        env={**os.environ, "TMPDIR": str(folder), "PYTHONWARNINGS": "default"},
        capture_output=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode()


def test_the_demo_tells_its_story_and_leaves_nothing(tmp_path: Path) -> None:
    told = _demo(tmp_path)
    for word in (
        "A federation is founded",
        "1 may fail",
        "handed to",
        "is killed with kill -9",
        "the others go on: a transfer is finalized",
        "the same state root",
        "valid: task",
        "one byte of the file changed: refused",
        "bizra-node run --bootstrap",
    ):
        assert word in told, told
    for kind in ("embed", "rank", "summarize", "answer"):
        assert f"asks for '{kind}'" in told, told
    assert list(tmp_path.iterdir()) == []
    assert _processes_in(tmp_path) == []


def test_with_keep_the_federation_is_left_running(tmp_path: Path) -> None:
    (given := tmp_path / "given").mkdir()
    (given / "note.md").write_text("The capital of Rohan is Edoras. It lies on a hill.")
    told = _demo(tmp_path, "--nodes", "2", "--keep", "--input", str(given))
    stop = re.search(r"To stop it: kill ([\d ]+); rm -r (\S+)", told)
    assert stop is not None, told
    pids, folder = [int(one) for one in stop[1].split()], Path(stop[2])
    try:
        assert len(pids) == 2
        with Client.of_home(Home(folder / "ada")) as client:
            assert client.status().role == "validator"
            assert client.not_ready() is None
    finally:
        for pid in pids:
            os.kill(pid, 15)
        until(lambda: not _processes_in(folder), "the daemons to end")
    assert (folder / "receipt.json").exists()


def test_input_that_can_not_be_read_ends_the_demo_with_a_sentence(tmp_path: Path) -> None:
    (rubbish := tmp_path / "rubbish.bin").write_bytes(bytes(range(256)) * 9)
    done = subprocess.run(
        [sys.executable, "-m", "node.cli", "demo", "--input", str(rubbish)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert b"rubbish.bin" in done.stderr
    assert b"Traceback" not in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["rubbish.bin"]
