"""A second implementation of libp2p, js-libp2p, against a daemon: it may identify and ping, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gossip.transfer.messages import PROTOCOL as CONTENT
from gossip.transport.guests import IDENTIFY, PING
from inference.handoff import PROTOCOL as TASK
from node.chain.snapshots import PROTOCOL as SNAPSHOT
from tests.node.e2e.daemons import Fleet

JS = Path(__file__).parent.parent / "js"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script with its packages, as the lock file names them."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("js")
    for name in ("package.json", "package-lock.json", ".npmrc", "stranger.mjs"):
        shutil.copy(JS / name, folder)
    done = subprocess.run(
        ["npm", "ci", "--ignore-scripts"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    if done.returncode and "ENOTFOUND" in done.stderr + done.stdout:
        pytest.skip("the packages of js-libp2p can't be fetched here")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.server
@pytest.mark.timeout(300)
def test_js_libp2p_may_identify_and_ping_and_is_refused_the_rest(
    fleet: Fleet, packages: Path
) -> None:
    daemon = fleet.new("node", ())
    daemon.start()
    protocols = (CONTENT, SNAPSHOT, TASK)
    done = subprocess.run(
        ["node", "stranger.mjs", daemon.address, *protocols],
        cwd=packages,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert daemon.address.endswith(told["peer"])
    assert 0 <= told["rtt"] < 5000
    assert {IDENTIFY, PING} <= set(told["protocols"])
    assert not {*protocols} & set(told["protocols"]), "they are not even named to a stranger"
    assert told["refused"] == dict.fromkeys(protocols, True)
    assert daemon.client.peers().peers == ()
    assert daemon.status.peers == 0
