"""The walk with curl in docs/API.md, run line by line on a daemon of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.node.e2e.daemons import Fleet

DOC = Path(__file__).parents[3] / "docs" / "API.md"

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


def steps() -> list[tuple[str, str]]:
    """Each command that is printed, with what it prints."""
    found = re.search(r"```console\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert found is not None
    pieces = re.split(r"^\$ ", found[1], flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (one.partition("\n") for one in pieces)]


def test_what_is_printed_is_what_happens(fleet: Fleet) -> None:
    daemon = fleet.new(".bizra").start("--found", "Town")
    folder = daemon.home.path.parent
    program = folder / "bizra-node"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m node.cli "$@"\n')
    program.chmod(0o700)
    commands = steps()
    assert len(commands) > 8
    # One shell for all of them, so that what one sets the next has; a mark tells their outputs apart.
    script = "\n".join(f"{command}\nprintf '\\n=====\\n'" for command, _ in commands)
    done = subprocess.run(
        ["bash", "-c", script],
        env={
            **os.environ,
            "U": daemon.client.url,
            "HOME": str(folder),
            "BIZRA_HOME": str(daemon.home.path),
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(DOC.parents[1]),
        },
        cwd=folder,
        capture_output=True,
        check=True,
        timeout=100,
    )
    *outputs, rest = done.stdout.decode().split("\n=====\n")
    assert rest == ""
    for (command, printed), output in zip(commands, outputs, strict=True):
        form = re.escape(printed.strip()).replace(r"\.\.", ".*")
        assert re.fullmatch(form, output.strip()), (command, output, done.stderr.decode())
