"""Who is late says so itself, by its own signature, and is allowed as much."""

from __future__ import annotations

import msgspec

from gossip.membership.lateness import MOST_MS, Lateness
from gossip.membership.suspicions import Statements
from tests.gossip.membership.town import FEDERATION, VERIFIER, node, signer


def test_own_lateness_grows_at_once_and_is_forgotten_little_by_little() -> None:
    one = Lateness()
    assert one.missed(640) == 640
    assert one.own_ms == 640
    assert one.missed(0) == 0
    assert one.own_ms == 600
    assert one.missed(10**9) == MOST_MS - 600
    one.check_invariants()


def test_it_is_declared_in_full_steps_and_small_delays_are_nobodys_concern() -> None:
    one = Lateness()
    one.missed(99)
    assert one.declared_ms == 0
    one.missed(640)
    assert one.declared_ms == 1_000
    one.missed(MOST_MS)
    assert one.declared_ms == MOST_MS


def test_all_hear_of_it_once_and_again_when_it_is_worse_or_a_minute_has_passed() -> None:
    one = Lateness()
    one.missed(499)
    assert not one.is_untold(0)
    one.missed(600)
    assert one.is_untold(0)
    assert one.tell(0)
    assert not one.is_untold(59_999)
    assert not one.tell(59_999)
    one.missed(1_400)
    assert one.is_untold(1)
    assert one.tell(1)
    one.missed(1_400)
    assert one.is_untold(60_001)


def test_another_is_allowed_what_it_says_for_two_minutes() -> None:
    one = Lateness()
    assert one.said(0, node(2), 1_000)
    assert not one.said(1, node(2), 500), "less is no news"
    assert one.of(1, node(2)) == 500
    assert one.of(120_001, node(2)) == 0
    assert one.of(1, node(3)) == 0
    assert not one.said(2, node(2), 0)
    assert one.of(2, node(2)) == 0


def test_what_is_noted_of_others_is_bounded() -> None:
    one = Lateness()
    for number in range(1_500):
        one.said(number, node(number + 1), 500)
    one.check_invariants()
    assert one.of(1_500, node(1)) == 0
    assert one.of(1_500, node(1_500)) == 500


def test_nobody_says_it_of_another() -> None:
    life = Statements(FEDERATION, signer(2), VERIFIER).live(7, 500)
    anybody = Statements(FEDERATION, signer(3), VERIFIER)
    assert anybody.is_life(life)
    assert not anybody.is_life(msgspec.structs.replace(life, late_ms=1_000))
