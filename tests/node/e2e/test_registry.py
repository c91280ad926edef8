"""The validator registry with real daemons: a seat by registration, rotation, damage, copies, growth and shrinking."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx2
import pytest

from consensus.genesis import Genesis
from consensus.messages import Transactions
from consensus.operations.transactions import TransactionBody, sign_transaction
from consensus.operations.validators import ApproveParameter
from gossip.codec import encode
from node.client import StillWaitingError
from node.storage.keyfile import Purpose, load_key
from tests.node.e2e.daemons import Daemon, Fleet, await_agreement, knows, until
from tests.node.e2e.test_faults import Load, assert_kept

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
    assert alone.command("validators", "rotate-key").code == 0
    until(lambda: "voting.key.next" not in _keys(alone), "the second key to be taken")
    assert len([one for one in _keys(alone) if one.startswith("voting.key.last")]) == 1
    alone.stop()
    alone.start()
    assert alone.status.voting == "yes"
    assert _keys(alone) == ["voting.key"], "what the two of before decided is certified"
    assert alone.pay(alone).status == "finalized"


def _keys(node: Daemon) -> list[str]:
    return sorted(path.name for path in node.home.path.glob("voting.key*"))


@pytest.mark.parametrize(
    "place",
    ["record", "lost", pytest.param("truncated", marks=pytest.mark.slow)],
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


@pytest.mark.parametrize("size", [5, pytest.param(10, marks=pytest.mark.slow)])
def test_validators_come_and_go_in_one_run(fleet: Fleet, size: int) -> None:
    """From one to `size` and back to four with no restart, under load; a payment after every change, none is lost."""
    members = [fleet.new("node0").start()]
    load = Load(members)  # the founder pays itself, again and again
    with load.on():
        paid = _come_and_go(fleet, members, size, load)
    assert not load.faults
    assert_kept(load.told[:: max(1, len(load.told) // 20)], members)
    assert 100_000_000 - members[0].balance() == 7 * paid - 1


def test_a_seat_is_taken_away_and_then_the_membership_by_the_word_of_the_others(
    fleet: Fleet,
) -> None:
    """The others go on, and whoever is out is a stranger to each of them, after it has started anew too."""
    members = [fleet.new("node0").start()]
    for number in range(1, 5):
        node = _observer(fleet, members[0], f"node{number}")
        _seat(members, node)
    *others, out = members
    for one in others[:3]:
        assert one.command("validators", "remove", out.id).code == 0
    assert out.status.role == "validator"  # three of five are not more than two thirds
    assert others[3].command("validators", "remove", out.id).code == 0
    until(lambda: out.status.role == "observer", "the seat to be taken away")
    assert others[0].pay(others[1]).status == "finalized"
    for one in others[:3]:
        assert one.command("expel", out.id).code == 0
    for one in others:
        until(lambda one=one: out.id not in _peers(one), "the table to be without it")  # type: ignore[misc]
    out.says("not a member any more")
    out.end()
    out.start()
    until(lambda: any(_is_applicant(out, one) for one in others), "it to ask as a stranger does")
    assert all(out.id not in _peers(one) for one in others)
    assert others[1].pay(others[0]).status == "finalized"
    await_agreement(others)


def _peers(node: Daemon) -> set[str]:
    return {one.node_id for one in node.client.peers().peers}


def _is_applicant(node: Daemon, judge: Daemon) -> bool:
    return node.id in {one.node_id for one in judge.client.peers(applicants=True).peers}


def test_a_program_that_does_not_speak_the_federation_s_protocol_stops_and_says_so(
    fleet: Fleet,
) -> None:
    alone = fleet.new("alone").start()
    refused = alone.command("validators", "parameters", "protocol_version", "2", "--json")
    assert refused.json["error"]["code"] == "unknown_protocol"
    _hand_in(alone, ApproveParameter("protocol_version", 2))
    assert "install a newer version" in alone.says("install a newer version")
    assert alone.process.wait(20) != 0
    alone.launch()
    assert "install a newer version" in alone.says("install a newer version")
    assert alone.process.wait(20) != 0


def _hand_in(node: Daemon, operation: ApproveParameter) -> None:
    """As a newer program would, with the key of the node's account."""
    signer = load_key(node.home.identity_key, Purpose.IDENTITY)
    chain = Genesis.load(node.home.genesis.read_bytes()).federation_id
    nonce = node.client.account(node.id).nonce
    body = TransactionBody(chain, signer.public, nonce, 1000, (operation,))
    httpx2.post(
        f"{node.client.url}/api/v2/transactions/batch",
        content=encode(Transactions((sign_transaction(signer, body).raw,))),
        trust_env=False,
    )


@pytest.mark.slow  # four daemons, and a wait in vain
def test_a_seat_above_a_third_stops_the_federation_while_it_is_away(fleet: Fleet) -> None:
    """By stake and without a cap: six of nine votes are with one node, and nothing is decided without it."""
    founder = fleet.new("founder")
    wished = ("power=stake", "stake_per_power=1000000", "power_blocks=2", "cap_power=false")
    said = [word for one in wished for word in ("--set", one)]
    assert founder.command("init", "--found", "weighed", *said).code == 0
    members = [founder.start()]
    for number in range(1, 4):
        node = _observer(fleet, founder, f"node{number}")
        for one in members[:1] if number < 3 else members:
            until(lambda one=one, node=node: knows(one, node), "all to hear of it")  # type: ignore[misc]
            one.command("admit", node.id, "--validator")
        until(lambda node=node: node.status.role == "validator", "the seat")  # type: ignore[misc]
        members.append(node)
    heavy = members[1]
    assert founder.command("validators", "delegate", heavy.id, "5000000").code == 0
    founder.pay(heavy, 2)
    until(lambda: _powers(founder) == {heavy.id: 6}, "the powers to be reckoned again")
    assert founder.status.quorum == 7
    await_agreement(members)
    heavy.kill()
    stuck = founder.client.transfer(members[2].id, 1).tx_hash
    with pytest.raises(StillWaitingError):
        founder.client.await_transaction(stuck, 3)
    heavy.start()
    assert founder.client.await_transaction(stuck, 30).status == "finalized"
    await_agreement(members)


def _powers(node: Daemon) -> dict[str, int]:
    """Of those who weigh more than one."""
    seats = node.client.validators().validators
    return {one.node_id: one.power for one in seats if one.power > 1}


def _seat(members: list[Daemon], node: Daemon) -> None:
    """The members say their word for an observer, as many as it takes, and it becomes one of them."""
    for one in members:
        until(lambda one=one: knows(one, node), "all to hear of it")  # type: ignore[misc]
        if node.status.role != "validator":
            one.command("admit", node.id, "--validator")
    until(lambda: node.status.role == "validator", "the seat")
    members.append(node)


def _come_and_go(fleet: Fleet, members: list[Daemon], size: int, load: Load) -> int:
    """How many payments the founder has made to others."""
    paid = 0
    for number in range(1, size):
        node = fleet.new(f"node{number}", ()).start("--bootstrap", members[0].address)
        until(lambda node=node: knows(members[0], node), "the founder to hear of it")  # type: ignore[misc]
        assert members[0].command("admit", node.id).code == 0
        until(lambda node=node: node.status.role == "observer", "it to become an observer")  # type: ignore[misc]
        _seat(members, node)
        members[0].pay(node, 7)
        paid += 1
        load.grows()
    assert members[0].status.faults_tolerated == (size - 1) // 3
    while len(members) > 4:
        leaver = members.pop()
        told = leaver.command("validators", "leave", "--json")
        assert told.code == 0, told.err
        until(lambda one=leaver: one.status.role == "observer", "it to leave")  # type: ignore[misc]
        members[0].pay(leaver, 7)
        paid += 1
        load.grows()
    status = members[0].status
    assert (status.quorum, status.faults_tolerated) == (3, 1)
    refused = members[-1].command("validators", "leave", "--json")
    assert refused.json["error"]["code"] == "set_too_small"
    assert members[1].pay(members[0]).status == "finalized"
    return paid
