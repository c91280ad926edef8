"""Membership under anything: random lives of a few nodes, and random words from a peer."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.membership.core import BEAT_TIMER, PULL_TIMER, SPREAD_TIMER
from gossip.membership.events import (
    AdmissionChanged,
    CapabilitiesChanged,
    PeerUp,
    Received,
    TimerFired,
)
from gossip.membership.messages import MembershipMessage
from gossip.membership.notices import Liveness
from gossip.membership.records import Capability
from tests.gossip.membership.strategies import messages
from tests.gossip.membership.town import EMBED, GENESIS, Town, address, node

NODES = 5


class Life:
    """What can happen to a federation of five, each drawn from one seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.town = Town()
        for number in range(1, NODES + 1):
            self.town.settle(number, bootstrap=(address(1),) if number > 1 else ())

    def step(self) -> None:
        deed = self.dice.choice(
            (self.restart, self.cut, self.freeze, self.change, self.remove, self.doze)
        )
        deed(self.dice.randint(1, NODES))
        self.town.run(self.dice.choice((5, 50, 500, 3_000, 12_000)))

    def restart(self, number: int) -> None:
        disk = self.town.residents[node(number)].disk
        self.town.kill(number)
        self.town.run(self.dice.choice((0, 100, 7_000)))
        self.town.settle(number, role=None, disk=disk)

    def cut(self, number: int) -> None:
        other = self.dice.randint(1, NODES)
        if other != number:
            self.town.cut_off(number, other)

    def freeze(self, number: int) -> None:
        resident = self.town.residents[node(number)]
        resident.silent = not resident.silent

    def change(self, number: int) -> None:
        rank = Capability("inference", "rank", None, self.dice.randint(0, 9), 1)
        self.town.tell(number, CapabilitiesChanged((EMBED, rank), self.dice.randint(0, 1000)))

    def remove(self, number: int) -> None:
        """The ledger's word reaches each node at its own time."""
        if self.town.ledger.pop(node(number), None) is None:
            self.town.ledger[node(number)] = "observer"
        for resident in list(self.town.residents.values()):
            self.town.tell(resident.number, AdmissionChanged((node(number),)))
            self.town.run(self.dice.choice((0, 3, 40)))

    def doze(self, number: int) -> None:
        self.town.doze(number, self.dice.choice((1_000, 20_000)))

    def heal(self) -> None:
        """All that was broken is repaired; back-off may need its thirty seconds."""
        self.town.broken.clear()
        for resident in self.town.residents.values():
            resident.silent = False
        for number in range(1, NODES + 1):
            if node(number) not in self.town.ledger:
                self.remove(number)
        self.town.run(75_000)


@pytest.mark.parametrize("seed", range(20))
def test_after_any_life_that_heals_everybody_knows_everybody(seed: int) -> None:
    life = Life(seed)
    for _ in range(12):
        life.step()
    life.heal()
    town = life.town
    assert town.seqs_ahead_of_disk == []
    for one in town.residents.values():
        rows = one.core.table()
        assert [row.status for row in rows] == [Liveness.ALIVE] * (NODES - 1)
        assert all(row.connected for row in rows)
        for other in town.residents.values():
            if other is not one:
                own = other.core.own_record
                shown = one.core.record_of(other.node)
                assert own is not None
                assert shown is not None
                assert shown.says_the_same(own.record)


@pytest.mark.parametrize("genesis", [GENESIS, None])
@pytest.mark.parametrize("role", ["validator", None])
@settings(max_examples=30)
@given(st.lists(st.one_of(messages, st.sampled_from((0, 1, 2, 3))), max_size=12))
def test_no_word_of_a_peer_breaks_a_core(
    genesis: bytes | None, role: str | None, words: list[MembershipMessage | int]
) -> None:
    town = Town()
    town.settle(1, genesis=genesis)
    if role is not None:
        town.ledger[node(2)] = role
    town.tell(1, PeerUp(node(2), address(2), outbound=True))
    for word in words:
        match word:
            case 0:
                town.tell(1, TimerFired(BEAT_TIMER))
            case 1:
                town.tell(1, TimerFired(PULL_TIMER))
            case 2:
                town.tell(1, TimerFired(SPREAD_TIMER))
            case 3:
                town.tell(1, PeerUp(node(2), address(2), outbound=False))
            case _:
                assert not isinstance(word, int)
                town.tell(1, Received(node(2), word))
