"""Turns under a cap of bytes a second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossip.transfer.bandwidth import Bandwidth
from gossip.transfer.messages import Priority


def test_without_a_cap_everybody_goes_at_once() -> None:
    core = Bandwidth(None)
    tickets = [core.ask(Priority.BULK, 10**9) for _ in range(5)]
    assert core.grant(0) == tickets


def test_urgent_ones_overtake_those_that_wait() -> None:
    core = Bandwidth(1000)
    core.grant(0)
    first = core.ask(Priority.BULK, 1000)
    assert core.grant(0) == [first]
    bulk, state = core.ask(Priority.BULK, 10), core.ask(Priority.STATE, 10)
    assert core.grant(10) == []
    assert core.grant(2000) == [state, bulk]


def test_who_gave_up_takes_nobodys_turn() -> None:
    core = Bandwidth(1000)
    gone, here = core.ask(Priority.BULK, 10**6), core.ask(Priority.BULK, 10)
    core.give_back(gone)
    assert core.grant(0) == [here]


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=50), st.integers(100, 10_000))
def test_no_more_than_the_cap_passes_and_nobody_waits_for_ever(
    sizes: list[int], bytes_per_s: int
) -> None:
    core = Bandwidth(bytes_per_s)
    sizes_of = {core.ask(Priority.BULK, size): size for size in sizes}
    now_ms, passed = 0, 0
    while sizes_of:
        for ticket in core.grant(now_ms):
            passed += sizes_of.pop(ticket)
        if sizes_of:
            due_ms = core.due_ms(now_ms)
            assert due_ms is not None
            assert due_ms > now_ms
            # A burst, and one message that overdraws.
            assert passed <= bytes_per_s * (now_ms / 1000 + 0.25) + max(sizes)
            now_ms = due_ms
