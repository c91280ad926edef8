"""The validator registry with real daemons: a seat by registration, rotation, damage, copies, growth and shrinking."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.node.e2e.daemons import Daemon, Fleet, await_agreement, knows, until

pytestmark = pytest.mark.timeout(300)


def _observer(fleet: Fleet, founder: Daemon, name: str) -> Daemon:
    node = fleet.new(name).start("--bootstrap", founder.address)
    until(lambda: knows(founder, node), "the founder to hear of it")
    assert founder.command("admit", node.id).code == 0
    until(lambda: node.status.role == "observer", "it to become an observer")
    return node


def _register(node: Daemon, validators: list[Daemon]) -> None:
    """The whole saga, by hand."""
    told = node.command("validators", "register", "--name", node.name, "--json")
    assert told.code == 0, told.err
    assert told.json["status"] == "registered"
    assert told.json["validatorID"] == node.id
    early = node.command("validators", "activate", "--json")
    assert early.code == 1
    assert early.json["error"]["code"] == "not_approved"
    for one in validators:
        until(lambda one=one: knows(one, node), "all to hear of it")  # type: ignore[misc]
        assert one.command("admit", node.id, "--validator").code == 0
    until(lambda: _state(node, node) == "approved", "the approval")
    assert node.command("validators", "activate").code == 0
    until(lambda: node.status.role == "validator", "the seat")


def _state(asked: Daemon, about: Daemon) -> str | None:
    found = {one.id: one.state for one in asked.client.registry().validators}
    return found.get(about.id)


def test_a_seat_by_registration_and_a_stake_that_grows(fleet: Fleet) -> None:
    founder = fleet.new("founder").start()
    node = _observer(fleet, founder, "second")
    poor = node.command("validators", "register", "--stake", "999999999999", "--json")
    assert poor.code == 1
    assert poor.json["error"]["code"] == "overdraft"
    _register(node, [founder])
    assert node.command("validators", "stake", "500").code == 0
    assert founder.command("validators", "delegate", node.id[:12], "700").code == 0
    (row,) = [one for one in founder.client.registry().validators if one.id == node.id]
    assert (row.name, row.state, row.delegated) == ("second", "active", "700")
    assert int(row.stake) == 1_000_500
    left = node.command("validators", "leave", "--json")
    assert left.json["error"]["code"] == "set_too_small"
    changed = founder.command("validators", "parameters", "min_stake", "5", "--json")
    assert changed.json["status"] == "finalized"
    assert founder.client.parameters().parameters["min_stake"] == "5"


@pytest.mark.slow  # a damaged log ends with a rotation and a restart, too
def test_a_rotated_key_votes_before_and_after_a_restart(fleet: Fleet) -> None:
    alone = fleet.new("alone").start()
    before = alone.client.validators().validators[0].voting_key
    assert alone.command("validators", "rotate-key").code == 0
    after = alone.client.validators().validators[0].voting_key
    assert before != after
    assert alone.pay(alone).status == "finalized"
    assert "votes with a fresh key" in alone.says("votes with a fresh key")
    assert not (alone.home.path / "voting.key.next").exists()
    alone.stop()
    alone.start()
    assert alone.status.voting == "yes"
    assert alone.pay(alone).status == "finalized"


@pytest.mark.parametrize(
    "place",
    ["record", *(pytest.param(one, marks=pytest.mark.slow) for one in ("truncated", "lost"))],
)
def test_a_validator_with_a_damaged_log_of_votes_observes_until_its_key_is_rotated(
    fleet: Fleet, place: str
) -> None:
    founder = fleet.new("founder").start()
    node = _observer(fleet, founder, "second")
    _register(node, [founder])
    for _ in range(3):
        founder.pay(node)
    await_agreement([founder, node])
    node.stop()
    _damage(node.home.path / "votes", place)
    node.start()
    assert "does NOT vote" in node.says("does NOT vote")
    assert "damaged" in node.status.voting or "missing" in node.status.voting
    founder.pay(node)
    await_agreement([founder, node])
    told = node.command("validators", "rotate-key")
    assert told.code == 0, told.err
    until(lambda: node.status.voting == "yes", "it to vote again")
    node.stop()
    node.start()
    until(lambda: node.status.voting == "yes", "it to vote after a restart")
    assert list(node.home.path.glob("votes-damaged-*")) or place == "lost"


def _damage(votes: Path, place: str) -> None:
    if place == "lost":
        shutil.rmtree(votes)
        return
    logs = sorted(votes.glob("*.log"), key=lambda path: path.stat().st_size)
    content = bytearray(logs[-1].read_bytes())
    assert len(content) > 200
    if place == "record":
        content[len(content) // 2] ^= 0x40
        logs[-1].write_bytes(content)
    else:
        logs[-1].write_bytes(b"")


def test_a_copy_of_a_home_does_not_run_beside_the_original(fleet: Fleet) -> None:
    alone = fleet.new("alone").start()
    copied = alone.home.path.parent / "copied"
    shutil.copytree(
        alone.home.path, copied, ignore=shutil.ignore_patterns("*.lock", "lock", "api.json")
    )
    twin = Daemon.of(copied)
    twin.launch()
    try:
        assert "in use on this machine already" in twin.says("in use on this machine already")
    finally:
        assert twin.end() != 0
