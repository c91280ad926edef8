"""A node joins by the second of two addresses, leaves with a good-bye, and comes back by what it has kept."""

from __future__ import annotations

import pytest

from tests.node.e2e.daemons import Daemon, Fleet, seat, until

pytestmark = pytest.mark.timeout(120)

NOBODY = "/ip4/127.0.0.1/tcp/9"


def status_of(one: Daemon, other: Daemon) -> str:
    found = [peer.status for peer in one.client.peers().peers if peer.node_id == other.id]
    return found[0] if found else ""


def test_leaving_is_told_and_coming_back_needs_no_address(fleet: Fleet) -> None:
    founder, guest = fleet.new("founder", ()), fleet.new("guest", ())
    founder.start()
    guest.start("--bootstrap", NOBODY, "--bootstrap", founder.address)
    seat(founder, guest)
    until(lambda: status_of(founder, guest) == "alive", "the guest to be alive")
    left = guest.command("leave", "--json")
    assert left.code == 0, left
    assert left.json == {"left": True}
    assert guest.process.wait(10) == 0
    until(lambda: status_of(founder, guest) == "left", "the founder to hear the good-bye", 3)
    guest._hang_up()
    guest.start()
    until(lambda: status_of(founder, guest) == "alive", "the guest to be back")
    again = fleet.new("again").command("leave")
    assert again.code == 3
    assert "no daemon is running" in again.err
