"""Daemons whose network is cut, changes, or loses packets."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.node.e2e.daemons import Daemon, Fleet, now_s, until
from tests.node.e2e.networks import Lan, asked, inside, lan

pytestmark = [pytest.mark.namespace, pytest.mark.timeout(240)]

ADA, BEN, MOVED = 1, 2, 77
MENDED_S = 5.0
"""What is promised; the slow test below asks for it."""


class Pair:
    """A founder and a member that was invited, each on a machine of its own."""

    def __init__(self, network: Lan, fleet: Fleet) -> None:
        self.network = network
        self.there, self.here = network.machine(ADA), network.machine(BEN)
        self.ada, self.ben = (fleet.new(name) for name in ("ada", "ben"))
        for one in (self.ada, self.ben):
            text = one.home.config.read_text().replace("127.0.0.1/tcp/0", "0.0.0.0/tcp/7430")
            one.home.config.write_text(text)

    def meet(self) -> None:
        self.ada.launch("--found", "two machines", program=inside(self.there))
        self.ada.says("is running as validator")
        invite = asked(self.there, self.ada, "invite")["invite"]
        self.ben.launch("--bootstrap", invite, program=inside(self.here))
        self.ben.says("is running")
        self.await_contact()

    def await_contact(self) -> None:
        until(lambda: self.sees(self.there, self.ada) == "alive", "ada to see ben")
        until(lambda: self.sees(self.here, self.ben) == "alive", "ben to see ada")

    def await_silence(self) -> None:
        until(lambda: self.sees(self.there, self.ada) != "alive", "ada to miss ben")
        until(lambda: self.sees(self.here, self.ben) != "alive", "ben to miss ada")

    def sees(self, machine: str, one: Daemon) -> str:
        """How the other one stands; a peer that is not connected is not alive."""
        peers = asked(machine, one, "peers")["peers"]
        return next((str(peer["status"]) for peer in peers), "unknown")

    def pay(self) -> None:
        """Ben's transfer has to reach the validator and come back in a block."""
        done = asked(self.here, self.ben, "tx", "transfer", self.ada.id, "1", "--wait")
        assert done["status"] == "finalized"


@pytest.fixture
def pair(fleet: Fleet) -> Iterator[Pair]:
    with lan() as network:
        try:
            yield Pair(network, fleet)
        finally:
            fleet.stop()


def test_after_a_cut_the_two_halves_are_one_federation_again(pair: Pair) -> None:
    pair.meet()
    pair.network.unplug(BEN)
    pair.await_silence()
    pair.network.plug(BEN)
    pair.await_contact()
    pair.pay()


def test_a_node_whose_address_changes_is_back_by_itself(pair: Pair) -> None:
    pair.meet()
    pair.network.give_address(pair.here, MOVED)
    until(
        lambda: f"10.78.0.{MOVED}" in str(asked(pair.there, pair.ada, "peers")), "the new address"
    )
    pair.await_contact()
    pair.pay()


def test_with_lost_and_late_packets_transfers_become_final(pair: Pair) -> None:
    pair.network.spoil(pair.there, "netem loss 5% delay 20ms 10ms")
    pair.network.spoil(pair.here, "netem loss 5% delay 20ms 10ms")
    pair.meet()
    for _ in range(3):
        pair.pay()


@pytest.mark.slow
def test_a_cut_of_a_minute_is_mended_within_five_seconds(pair: Pair) -> None:
    """By what the daemons themselves noted: looking at them takes a while on a busy machine."""
    pair.meet()
    pair.network.unplug(BEN)
    pair.await_silence()
    time.sleep(60)  # a cut that lasts is what this is about
    mended_s = now_s()
    pair.network.plug(BEN)
    for one, other in ((pair.ada, pair.ben), (pair.ben, pair.ada)):
        seen_s = until(
            lambda one=one, other=other: one.saw(other, "alive", mended_s),  # type: ignore[misc]
            f"{one.name} to see {other.name} alive",
            60,
        )
        assert seen_s is not None
        assert seen_s - mended_s < MENDED_S
    pair.pay()
