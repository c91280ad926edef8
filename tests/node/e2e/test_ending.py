"""How a daemon ends: soon, with 0, and with nothing left behind."""

from __future__ import annotations

import signal
import time

import pytest

from tests.node.e2e.daemons import Fleet, until

SOON_S = 2.0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_soon_with_zero_and_takes_its_model_along(
    fleet: Fleet, how: signal.Signals
) -> None:
    daemon = fleet.new("node").start()
    task = daemon.client.submit_task("embed", {"texts": ["many words " * 500] * 200})
    until(lambda: daemon.left_over, "the model's process to start")
    until(lambda: daemon.client.task(task.task_id).status == "running", "the task to run")
    began = time.monotonic()
    assert daemon.end(how) == 0
    assert time.monotonic() - began < SOON_S
    assert daemon.left_over == []
    assert not daemon.home.api.exists()
    assert daemon.said.rstrip().endswith("Stopped.")
    assert daemon.command("status").code == 3


def test_it_ends_while_it_looks_for_a_federation(fleet: Fleet) -> None:
    daemon = fleet.new("node")
    daemon.launch("--bootstrap", "/ip4/127.0.0.1/tcp/9")
    daemon.says("In vain so far")
    assert daemon.end(signal.SIGINT) == 0
    assert daemon.left_over == []


def test_what_a_killed_daemon_leaves_is_no_obstacle(fleet: Fleet) -> None:
    daemon = fleet.new("node").start()
    daemon.pay(daemon)
    height = daemon.status.height
    daemon.kill()
    assert daemon.home.api.exists()
    assert daemon.command("status").code == 3
    daemon.start()
    assert daemon.status.height == height
