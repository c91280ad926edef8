"""A member asks for a seat over HTTP: the stake is checked and reserved before the answer."""

from __future__ import annotations

import httpx2

from tests.node.e2e.daemons import Daemon, Fleet, until

STAKE = 1_000_000


def test_a_member_registers_once_its_stake_is_reserved(fleet: Fleet) -> None:
    (founder,) = fleet.federation(1)
    member = fleet.new("member")
    member.launch("--bootstrap", founder.client.invite(60_000).invite)
    member.started()
    until(lambda: member.client.status().role == "observer", "the member is let in")
    until(lambda: member.balance() >= STAKE, "the member has its grant")

    too_little = _register(member, "ada", STAKE - 1)
    assert (too_little.status_code, too_little.json()["code"]) == (422, "stake_too_small")
    too_much = _register(member, "ada", 10 * STAKE)
    assert (too_much.status_code, too_much.json()["code"]) in {
        (422, "overdraft"),
        (409, "overdraft"),
    }
    trick = _register(member, "a\u200bda", STAKE)
    assert (trick.status_code, trick.json()["code"]) == (400, "bad_name")
    before = member.balance()
    registered = _register(member, "ada", STAKE)
    assert registered.status_code == 201, registered.text
    assert registered.json()["validatorID"] == member.id
    assert registered.json()["status"] == "registered"
    assert member.balance() == before - STAKE
    again = _register(member, "ada", STAKE)
    assert again.status_code in {409, 422}
    known = _register(founder, "founder", STAKE)
    assert (known.status_code, known.json()["code"]) == (422, "already_validator")


def _register(daemon: Daemon, name: str, stake: int) -> httpx2.Response:
    return httpx2.post(
        f"{daemon.client.url}/api/v2/validators/register",
        json={"name": name, "stake": str(stake)},
        headers={"Authorization": f"Bearer {daemon.home.read_token()}"},
        trust_env=False,
        timeout=30,
    )
