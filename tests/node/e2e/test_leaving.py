"""A node joins by the second of two addresses, sleeps, leaves with a good-bye, and comes back by what it has kept."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.node.e2e.daemons import STOP_S, Daemon, Fleet, knows, now_s, seat, until

pytestmark = pytest.mark.timeout(120)

NOBODY = "/ip4/127.0.0.1/tcp/9"
BACK_S = 5.0
"""What is promised."""


def status_of(one: Daemon, other: Daemon) -> str:
    found = [peer.status for peer in one.client.peers().peers if peer.node_id == other.id]
    return found[0] if found else ""


@pytest.fixture(scope="module")
def pair(shared_fleet: Fleet) -> tuple[Daemon, Daemon]:
    founder, guest = shared_fleet.new("founder", ()), shared_fleet.new("guest", ())
    founder.start()
    guest.start("--bootstrap", NOBODY, "--bootstrap", founder.address)
    seat(founder, guest)
    until(lambda: status_of(founder, guest) == "alive", "the guest to be alive")
    return founder, guest


def test_a_node_that_slept_until_it_was_given_up_is_back_within_seconds(
    pair: tuple[Daemon, Daemon],
) -> None:
    """By what both noted themselves. It is frozen as a lid that is closed freezes it: no connection ends by that."""
    founder, guest = pair
    asleep_s = now_s()
    guest.process.send_signal(signal.SIGSTOP)
    try:
        until(lambda: founder.saw(guest, "dead", asleep_s), "the founder to give up the guest")
    finally:
        guest.process.send_signal(signal.SIGCONT)
    awake_s = now_s()
    back_s = until(lambda: founder.saw(guest, "alive", awake_s), "the guest to be alive again")
    assert back_s is not None
    assert back_s - awake_s < BACK_S
    until(lambda: status_of(guest, founder) == "alive", "the founder to be alive to the guest")
    founder.pay(guest)


def test_leaving_is_told_and_coming_back_needs_no_address(
    pair: tuple[Daemon, Daemon], shared_fleet: Fleet
) -> None:
    founder, guest = pair
    left = guest.command("leave", "--json")
    assert left.code == 0, left
    assert left.json == {"left": True}
    assert guest.process.wait(STOP_S) == 0
    until(lambda: status_of(founder, guest) == "left", "the founder to hear the good-bye")
    guest._hang_up()
    guest.start()
    until(lambda: status_of(founder, guest) == "alive", "the guest to be back")
    again = shared_fleet.new("again").command("leave")
    assert again.code == 3
    assert "no daemon is running" in again.err


def test_who_is_expelled_is_a_stranger_to_all_until_it_is_let_in_again(
    pair: tuple[Daemon, Daemon], shared_fleet: Fleet, tmp_path: Path
) -> None:
    founder, guest = pair
    document = tmp_path / "document"
    document.write_bytes(b"for members only")
    content = founder.command("transfer", "add", document, "--json").json["content_id"]
    third = shared_fleet.new("third", ()).start("--bootstrap", founder.address)
    until(lambda: knows(founder, third), "the third to be heard of")
    assert founder.command("admit", third.id).code == 0
    for one in pair:
        until(lambda one=one: status_of(one, third) == "alive", "the third to be a member")  # type: ignore[misc]
    until(lambda: third.status.role == "observer", "the third to know it")
    refused = founder.command("expel", guest.id, "--json")
    assert (refused.code, refused.json["error"]["code"]) == (1, "still_validator")
    told = founder.command("expel", third.id[:16])  # of two, the founder alone has two thirds
    assert told.code == 0, told.err
    for one in pair:
        until(lambda one=one: status_of(one, third) == "", "the third to be gone from the table")  # type: ignore[misc]
    third.says("not a member any more")
    # It tries again with all that it has kept, and is nobody to either of them.
    assert third.end() == 0
    third.start()
    applicants = until(lambda: founder.client.peers(applicants=True).peers, "it to be a stranger")
    assert [one.node_id for one in applicants] == [third.id]
    fetched = third.command("transfer", "get", content)
    assert fetched.code == 1, fetched
    assert [status_of(one, third) for one in pair] == ["", ""]
    again = founder.command("expel", third.id, "--json")
    assert (again.code, again.json["error"]["code"]) == (1, "unknown_member")
    assert founder.command("admit", third.id).code == 0
    for one in pair:
        until(lambda one=one: status_of(one, third) == "alive", "the third to be back")  # type: ignore[misc]
    assert third.command("transfer", "get", content).code == 0
