"""Among many members records are asked for more rarely, and those of who is no neighbour last all the same."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from gossip.membership import Timing
from gossip.membership.core import PULL_TIMER
from gossip.membership.notices import Liveness
from gossip.membership.timing import spaced
from tests.gossip.membership.test_mesh import FEW, number_of, town_of
from tests.gossip.membership.town import EMBED


@given(st.integers(0, 32))
def test_few_members_are_not_spaced_out(members: int) -> None:
    assert spaced(10_000, members) == 10_000


@given(st.integers(33, 5_000))
def test_each_doubling_adds_one_period_as_with_memberlist(members: int) -> None:
    multiple = math.ceil(math.log2(members) - math.log2(32)) + 1
    assert spaced(10_000, members) == 10_000 * multiple


def test_in_a_town_of_many_each_asks_half_as_often_and_all_still_offer_what_they_can() -> None:
    """All periods a twentieth of what they are, so that records last through several of them."""
    hurried = Timing(refresh_ms=30_000, lasts_ms=120_000, pull_ms=1_500)
    town = town_of(34, 4, FEW, timing=hurried)
    seen = {one.number: number_of(one) for one in town.residents.values()}
    town.run(300_000)
    waits = [one.timers[PULL_TIMER] - town.now_ms for one in town.residents.values()]
    assert 1_500 < max(waits) <= 3_000
    for one in town.residents.values():
        assert number_of(one) - seen[one.number] in (4, 5)
        rows = one.core.table()
        assert len(rows) == 33
        assert {row.status for row in rows} == {Liveness.ALIVE}
        assert all(row.capabilities == (EMBED,) for row in rows)
