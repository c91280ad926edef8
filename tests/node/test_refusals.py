"""Counts of what was refused, and the CPU that one peer may waste."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from gossip.effects import Cause, Rejected
from gossip.identity import NodeId
from node.peers.refusals import BURST_S, LEAST_HOLD_S, SHARE, Refusals, WasteBudget

ALICE, BOB = NodeId(b"a" * 32), NodeId(b"b" * 32)


def test_refusals_are_counted_by_peer_and_cause() -> None:
    refusals = Refusals()
    for peer, cause in ((BOB, Cause.STALE), (ALICE, Cause.STALE), (BOB, Cause.STALE)):
        refusals.count(Rejected(peer, "a sentence", cause))
    refusals.count(Rejected(BOB, "another", Cause.SIGNATURE))
    assert refusals.rows() == [(ALICE, "stale", 1), (BOB, "signature", 1), (BOB, "stale", 2)]


def test_whoever_wastes_more_than_its_share_is_held_until_it_has_grown_back() -> None:
    budget = WasteBudget()
    assert budget.charge(0.0, ALICE, BURST_S) == 0.0
    hold_s = budget.charge(0.0, ALICE, 0.3)
    assert hold_s == pytest.approx(0.3 / SHARE)
    assert budget.charge(0.0, BOB, 0.01) == 0.0
    assert budget.charge(hold_s, ALICE, 0.0) == pytest.approx(0.0)
    assert budget.charge(hold_s, ALICE, SHARE) == pytest.approx(1.0)


def test_over_a_long_time_a_peer_wastes_no_more_than_its_share() -> None:
    budget = WasteBudget()
    now_s = wasted_s = 0.0
    while now_s < 1000:
        now_s += budget.charge(now_s, ALICE, 0.002)
        wasted_s += 0.002
    assert wasted_s <= BURST_S + SHARE * now_s + 0.002


def test_a_peer_that_owes_little_is_held_long_enough_that_it_wakes_nobody_for_each_message() -> (
    None
):
    budget = WasteBudget()
    budget.charge(0.0, ALICE, BURST_S)
    assert budget.charge(0.0, ALICE, 0.00001) == LEAST_HOLD_S


def test_a_flood_of_refusals_is_counted_whole_and_logged_seldom() -> None:
    refusals = Refusals()
    with capture_logs() as entries:
        for _ in range(1000):
            refusals.tell(Rejected(ALICE, "a sentence", Cause.SIGNATURE))
            refusals.tell(Rejected(BOB, "too late", Cause.STALE))
    assert refusals.rows() == [(ALICE, "signature", 1000), (BOB, "stale", 1000)]
    told = [(one["peer"], one["times"]) for one in entries]
    assert told == [(ALICE.hex(), 2**power) for power in range(10)]
