"""Clients that others wrote, against a node in front of a model server: `make clients` installs and runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.inference.servers import Speak, model_server
from tests.node.model_gateway import model_gateway

ROOT = Path(__file__).parent.parent.parent
PYTHON = ROOT / ".clients" / "python" / "bin" / "python"
CANARY = ROOT / ".clients" / "npm" / "node_modules" / "compatcanary" / "src" / "cli.js"

pytestmark = pytest.mark.server


async def run(*words: str | Path) -> subprocess.CompletedProcess[bytes]:
    """A program with the environment's proxies and keys left out."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return await trio.run_process(
        [str(word) for word in words],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=kept,
    )


@pytest.mark.skipif(not PYTHON.exists(), reason="`make clients` has not been run")
async def test_langchain_and_instructor(home_path: Path) -> None:
    async with (
        model_server(models=("words",)) as words,
        model_server(models=("person",)) as person,
        model_gateway(home_path, [words, person]) as gateway,
    ):
        person.acts = [Speak(obeys=True)]
        ended = await run(PYTHON, "-P", ROOT / "tests" / "clients" / "asks.py", f"{gateway.url}/v1")
        assert ended.returncode == 0, ended.stderr.decode()[-3000:]


async def score(base_url: str) -> dict[str, Any]:
    """What compatcanary passes, by probe."""
    ended = await run(
        "node", CANARY, "scan", "--base-url", base_url, "--model", "m", "--api-key", "none",
        "--format", "json", "--fail-on", "never",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr.decode()
    report: dict[str, Any] = json.loads(ended.stdout)
    return report


@pytest.mark.skipif(
    not CANARY.exists() or shutil.which("node") is None, reason="`make clients` has not been run"
)
async def test_compatcanary_finds_no_less_than_at_the_server_itself(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        server.acts = [Speak(obeys=True)]
        direct = await score(f"{server.url}/v1")
        through = await score(f"{gateway.url}/v1")
        assert through["score"] >= direct["score"], (direct, through)
        # The server itself has no /v1/responses; all else it has, and the node lacks nothing.
        assert through["summary"]["failures"] == 0, through
