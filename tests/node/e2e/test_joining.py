"""By hand, from one node to four validators: one story, told in order by one federation that grows."""

from __future__ import annotations

import pytest

from tests.node.e2e.daemons import Daemon, Fleet, await_agreement, await_peace, knows, until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def founder(shared_fleet: Fleet) -> Daemon:
    return shared_fleet.new("founder").start()


def _powers(one: Daemon) -> list[int]:
    return [seat.power for seat in one.client.validators().validators]


def test_an_empty_home_founds_a_federation_and_prints_the_line_to_join_it(founder: Daemon) -> None:
    said = founder.says("To join from another machine")
    assert f"bizra-node run --bootstrap {founder.address}" in said
    assert "genesis hash" in said
    status = founder.command("status", "--json")
    assert status.code == 0
    assert status.json["role"] == "validator"
    assert status.json["federation_id"] in said
    assert (status.json["quorum"], status.json["faults_tolerated"]) == (1, 0)


def test_it_finalises_alone(founder: Daemon) -> None:
    done = founder.command("tx", "transfer", founder.id, "5", "--wait", "--json")
    assert done.code == 0
    assert done.json["status"] == "finalized"


def test_from_one_to_four_validators_with_no_restart(founder: Daemon, shared_fleet: Fleet) -> None:
    members = [founder]
    expected = {2: ([3, 1], 3, 0), 3: ([5, 1, 1], 5, 0), 4: ([1, 1, 1, 1], 3, 1)}
    for count, (powers, quorum, tolerated) in expected.items():
        newcomer = shared_fleet.new(f"joiner{count}").start("--bootstrap", founder.address)
        if count == 2:
            _waits_as_an_applicant(founder, newcomer)
            _becomes_an_observer(founder, newcomer)
        else:
            until(lambda one=newcomer: knows(founder, one), "the founder to hear of it")  # type: ignore[misc]
        admitted = founder.command("admit", newcomer.id[:12], "--validator", "--json")
        assert admitted.code == 0
        assert admitted.json["role"] == "validator"
        until(lambda one=newcomer: one.status.role == "validator", "it to become a validator")  # type: ignore[misc]
        members.append(newcomer)
        await_agreement(members)
        for one in members:
            assert _powers(one) == powers
            status = one.status
            assert (status.quorum, status.faults_tolerated) == (quorum, tolerated)
            assert status.epoch == count - 1
        assert f"{tolerated} may fail" in newcomer.says("This node is now validator")
        founder.pay(newcomer)
    await_peace(members)
    listed = founder.command("validators", "list", "--json").json["validators"]
    assert [seat["power"] for seat in listed] == [1, 1, 1, 1]
    shown = founder.command("peers", "--json").json["peers"]
    assert {one["node_id"] for one in shown} == {one.id for one in members[1:]}
    assert {(one["status"], one["role"]) for one in shown} == {("alive", "validator")}


def _waits_as_an_applicant(founder: Daemon, newcomer: Daemon) -> None:
    status = newcomer.command("status", "--json")
    assert status.code == 0
    assert status.json["role"] == "applicant"
    assert status.json["federation_id"] == founder.status.federation_id
    assert "waits to be let in" in newcomer.command("status").out
    assert "Waiting to be let in" in newcomer.says("Waiting to be let in")
    assert f"bizra-node admit {newcomer.id}" in founder.says(f"bizra-node admit {newcomer.id}")
    applicants = founder.command("peers", "--applicants", "--json").json["peers"]
    assert [one["node_id"] for one in applicants] == [newcomer.id]
    assert [one["role"] for one in applicants] == ["applicant"]
    assert founder.command("peers", "--json").json["peers"] == []
    ready = newcomer.client.not_ready()
    assert ready is not None
    assert "bizra-node admit" in ready


def _becomes_an_observer(founder: Daemon, newcomer: Daemon) -> None:
    # Founding alone has made blocks that a stranger must not get.
    assert founder.status.height >= 1
    assert newcomer.status.height == 0
    assert founder.command("admit", newcomer.id, "--json").json["role"] == "observer"
    until(lambda: newcomer.status.role == "observer", "it to become an observer")
    await_agreement([founder, newcomer])
    assert newcomer.status.height >= 2
    assert "takes this one for a member" in newcomer.says("This node is now observer")
    (entry,) = founder.client.peers().peers
    assert (entry.node_id, entry.role, entry.status) == (newcomer.id, "observer", "alive")
    again = founder.command("admit", newcomer.id)
    assert again.code == 1
    assert "already" in again.err
    refused = newcomer.command("invite")
    assert refused.code == 1
    assert "only validators make invites" in refused.err


def test_an_invite_lets_one_node_in_and_no_second_one(founder: Daemon, shared_fleet: Fleet) -> None:
    invite = founder.command("invite", "--json").json["invite"]
    guest = shared_fleet.new("guest").start("--bootstrap", invite)
    until(lambda: guest.status.role == "observer", "the invited node to be let in")
    await_agreement([founder, guest])
    late = shared_fleet.new("late").start("--bootstrap", invite)
    late.says("this invite has been used: ask for a new one")
    assert late.status.role == "applicant"
    assert late.status.height == 0
    late.end()


def test_a_guest_comes_back_with_its_used_invite_without_a_complaint(
    founder: Daemon, shared_fleet: Fleet
) -> None:
    guest = next(one for one in shared_fleet.all if one.name == "guest")
    assert guest.end() == 0
    founder.pay(founder)
    guest.start()
    await_agreement([founder, guest])
    assert "invite" not in guest.said.replace("bizra-node invite", "")


def test_a_node_joins_through_an_observer(founder: Daemon, shared_fleet: Fleet) -> None:
    guest = next(one for one in shared_fleet.all if one.name == "guest")
    friend = shared_fleet.new("friend").start("--bootstrap", guest.address)
    assert friend.status.role == "applicant"
    until(lambda: knows(guest, friend), "the observer to hear of it")
    # The applicant stands at the observer's door; any validator may let it in by its id.
    assert founder.command("admit", friend.id, "--json").code == 0
    until(lambda: friend.status.role == "observer", "it to become an observer")
    await_agreement([founder, friend])
    until(lambda: friend.id in {one.node_id for one in founder.client.peers().peers}, "it to show")


def test_an_invite_shown_where_it_was_not_made_still_leads_to_its_issuer(
    founder: Daemon, shared_fleet: Fleet
) -> None:
    guest = next(one for one in shared_fleet.all if one.name == "guest")
    issuer = next(one for one in shared_fleet.all if one.name == "joiner3")
    invite = issuer.command("invite", "--json").json["invite"]
    visitor = shared_fleet.new("visitor").start("--bootstrap", guest.address, "--bootstrap", invite)
    until(lambda: visitor.status.role == "observer", "the invited node to be let in")
    await_agreement([founder, visitor])


def test_a_stranger_gets_no_blocks_and_sends_nothing(founder: Daemon, shared_fleet: Fleet) -> None:
    late = next(one for one in shared_fleet.all if one.name == "late")
    before = founder.status
    late.start()
    until(lambda: knows(founder, late), "the founder to hear of it")
    refused = late.command("tx", "transfer", founder.id, "1", "--json")
    assert refused.code == 1
    assert "let in" in refused.json["error"]["detail"]
    task = late.command("task", "submit", "embed", "--query", "a text", "--json")
    assert task.code == 1
    assert "let in" in task.json["error"]["detail"]
    founder.pay(founder)
    assert late.status.height == 0
    assert late.client.blocks(10).blocks == ()
    assert [one.node_id for one in founder.client.peers().peers if one.node_id == late.id] == []
    after = founder.status
    assert after.height > before.height
    assert after.pending_transactions == 0
    assert late.end() == 0


@pytest.mark.parametrize("spoil", ["cut", "misspelt", "word"])
def test_a_damaged_invite_is_refused_before_anything_is_made(
    founder: Daemon, shared_fleet: Fleet, spoil: str
) -> None:
    invite = founder.client.invite(60_000).invite
    swapped = invite[:40] + ("b" if invite[40] == "a" else "a") + invite[41:]
    given = {"cut": invite[:-9], "misspelt": swapped, "word": "bizra1-hello"}[spoil]
    daemon = shared_fleet.new(f"damaged-{spoil}")
    ended = daemon.command("run", "--bootstrap", given)
    assert ended.code == 2
    assert {"cut": "cut off", "misspelt": "wrong letter", "word": "invite"}[spoil] in ended.err
    assert not daemon.home.genesis.exists()


def test_an_expired_invite_is_refused(founder: Daemon, shared_fleet: Fleet) -> None:
    invite = founder.client.invite(1).invite
    daemon = shared_fleet.new("too-late")
    ended = daemon.command("run", "--bootstrap", invite)
    assert ended.code == 1
    assert "expired: ask for a new one" in ended.err
    assert not daemon.home.genesis.exists()


def test_an_invite_of_another_federation_is_refused(founder: Daemon, shared_fleet: Fleet) -> None:
    """Shown at home of a member of the first federation: that member stays what it was."""
    other = shared_fleet.new("other").start()
    invite = other.client.invite(60_000).invite
    guest = next(one for one in shared_fleet.all if one.name == "guest")
    assert guest.end() == 0
    guest.start("--bootstrap", invite)
    guest.says("this invite is for another federation")
    assert guest.status.federation_id == founder.status.federation_id
    await_agreement([founder, guest])


def test_a_home_of_one_federation_does_not_join_another(
    founder: Daemon, shared_fleet: Fleet
) -> None:
    other = next(one for one in shared_fleet.all if one.name == "other")
    federation, height = other.status.federation_id, other.status.height
    assert other.end() == 0
    other.start("--bootstrap", founder.address)
    said = other.says("belongs to another federation")
    assert (founder.status.federation_id or "?")[:12] in said
    assert "--home DIR" in said
    assert (other.status.federation_id, other.status.height) == (federation, height)
    other.pay(other)
