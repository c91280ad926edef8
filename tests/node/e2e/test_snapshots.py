"""Snapshots between real daemons: taken by who is far behind, kept in a file, put back from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.e2e.daemons import Daemon, Fleet, await_agreement, seat, until

pytestmark = pytest.mark.timeout(120)

BLOCKS = 12
BEHIND = 8


def settle(daemon: Daemon, *lines: str) -> None:
    """More lines of settings."""
    daemon.home.config.write_text(daemon.home.config.read_text() + "\n".join(lines) + "\n")


def test_a_newcomer_takes_a_snapshot_in_place_of_all_blocks(fleet: Fleet, tmp_path: Path) -> None:
    founder = fleet.new("founder", ())
    founder.start()
    second = fleet.new("second", ())
    second.start("--bootstrap", founder.address)
    seat(founder, second)
    for _ in range(BLOCKS):
        founder.pay(second)
    made = founder.command("snapshot", "create", "--output", tmp_path / "kept", "--json")
    assert made.code == 0, made
    height = made.json["height"]
    assert height == founder.status.height
    founder.pay(second)
    newcomer = fleet.new("newcomer", ())
    settle(newcomer, f"snapshot_behind = {BEHIND}")
    newcomer.launch("--bootstrap", founder.address)
    newcomer.started()
    until(
        lambda: newcomer.id in founder.command("peers", "--applicants", "--json").out,
        "the newcomer to apply",
    )
    founder.client.admit(newcomer.id, validator=False)
    newcomer.says(f"Took a snapshot of the ledger at height {height}")
    newcomer._hang_up()
    newcomer.started()
    await_agreement([founder, newcomer])
    assert newcomer.command("block", "show", "1").code == 1
    assert newcomer.balance() == int(founder.client.account(newcomer.id).balance)
    # It takes part like any other: it pays, and restarts.
    newcomer.pay(founder, 2)
    newcomer.end()
    newcomer.start()
    await_agreement([founder, newcomer])
    # The file puts a stopped node there that has no blocks yet.
    late = fleet.new("late", ())
    settle(late, "snapshot_behind = 0")
    late.start("--bootstrap", founder.address)
    late.end()
    restored = late.command("snapshot", "restore", tmp_path / "kept", "--json")
    assert restored.code == 0, restored
    assert restored.json["height"] == height
    again = late.command("snapshot", "restore", tmp_path / "kept")
    assert again.code == 1
    assert f"at height {height} already" in again.err
    late.start()
    assert late.status.height >= height
    damaged = (tmp_path / "kept").read_bytes()
    (tmp_path / "kept").write_bytes(damaged[:-200])
    refused = fleet.new("refused", ())
    refused.start("--bootstrap", founder.address)
    refused.end()
    told = refused.command("snapshot", "restore", tmp_path / "kept")
    assert told.code == 1
    assert "does not hold" in told.err
