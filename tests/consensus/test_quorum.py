from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.quorum import (
    SetFault,
    Validator,
    ValidatorSet,
    admission_powers,
    capped_powers,
    change_fault,
    is_quorum,
    is_weak_quorum,
    next_set,
    stake_powers,
)
from gossip.identity import NodeId, PublicKey

THIRD = Fraction(1, 3)
powers_of_a_few = st.lists(st.integers(1, 20), min_size=1, max_size=8)


def seats(powers: list[int] | tuple[int, ...], epoch: int = 0) -> ValidatorSet:
    return ValidatorSet(
        epoch,
        tuple(
            Validator(b"n" + at.to_bytes(31, "big"), b"k" + at.to_bytes(31, "big"), power)
            for at, power in enumerate(powers)
        ),
    )


def keys(members: ValidatorSet, chosen: tuple[int, ...]) -> frozenset[bytes]:
    return frozenset(members.validators[at].voting_key for at in chosen)


@pytest.mark.parametrize("n", range(1, 41))
def test_quorums_of_equal_powers_are_the_papers(n: int) -> None:
    members, f = seats([1] * n), (n - 1) // 3
    for votes in range(n + 1):
        assert members.is_quorum(votes) == (Fraction(votes, n) > 2 * THIRD)
        assert members.is_weak_quorum(votes) == (Fraction(votes, n) > THIRD)
    assert members.faults_tolerated == f
    assert members.quorum_power == min(votes for votes in range(n + 1) if members.is_quorum(votes))
    if n == 3 * f + 1:
        assert members.quorum_power == 2 * f + 1
        assert not members.is_weak_quorum(f)
        assert members.is_weak_quorum(f + 1)


@given(st.integers(0, 2**62), st.integers(1, 2**62))
def test_thresholds_are_exact_for_huge_powers(power: int, total: int) -> None:
    assert is_quorum(power, total) == (Fraction(power, total) > 2 * THIRD)
    assert is_weak_quorum(power, total) == (Fraction(power, total) > THIRD)


@given(powers_of_a_few)
def test_two_quorums_share_more_than_a_third(powers: list[int]) -> None:
    members = seats(powers)
    subsets = [
        chosen
        for size in range(len(powers) + 1)
        for chosen in combinations(range(len(powers)), size)
        if members.is_quorum(members.power_of(keys(members, chosen)))
    ]
    for one in subsets:
        for other in subsets:
            shared = tuple(sorted(set(one) & set(other)))
            assert members.is_weak_quorum(members.power_of(keys(members, shared)))


@given(powers_of_a_few)
def test_faults_tolerated_is_what_brute_force_finds(powers: list[int]) -> None:
    members, everyone = seats(powers), set(range(len(powers)))

    def survives(faults: int) -> bool:
        return all(
            Fraction(sum(powers[at] for at in everyone - set(faulty)), sum(powers)) > 2 * THIRD
            for faulty in combinations(range(len(powers)), faults)
        )

    tolerated = max(faults for faults in range(len(powers) + 1) if survives(faults))
    assert members.faults_tolerated == tolerated


@given(powers_of_a_few)
def test_strangers_and_repeated_keys_weigh_nothing(powers: list[int]) -> None:
    members = seats(powers)
    one = members.validators[0]
    assert members.power_of({one.voting_key, b"stranger"}) == one.power
    assert members.member(b"stranger") is None
    assert members.member(one.voting_key) == one
    assert members.power_of(set()) == 0


@given(st.lists(st.integers(1, 9), min_size=4, max_size=9))
def test_seats_lead_as_often_as_their_power_weighs(powers: list[int]) -> None:
    members = seats(powers)
    turns = Counter[bytes]()
    cycle = min(sum(powers), 16 * len(powers))
    for term in range(cycle):
        turns[members.leader(0, term * 16).node] += 1
    if not members.faults_tolerated:
        heaviest = max(members.validators, key=lambda seat: seat.power)
        assert turns == {heaviest.node: cycle}
        return
    for seat in members.validators:
        fair = Fraction(cycle * seat.power, members.total)
        assert abs(turns[seat.node] - fair) <= 1


def test_a_leader_keeps_its_seat_for_a_term() -> None:
    members = seats([1] * 4)
    leaders = [members.leader(0, height).node for height in range(64)]
    for term in range(4):
        assert len(set(leaders[term * 16 : term * 16 + 16])) == 1
    assert len(set(leaders)) == 4


@given(powers_of_a_few, st.integers(0, 1000), st.integers(0, 100))
def test_failed_views_reach_every_seat(powers: list[int], height: int, view: int) -> None:
    members = seats(powers)
    led = {members.leader(view + more, height).node for more in range(len(powers))}
    assert led == set(members.nodes)


@pytest.mark.parametrize("n", range(1, 41))
def test_admission_leaves_a_quorum_to_the_founder_below_four_seats_only(n: int) -> None:
    powers = admission_powers(n)
    assert len(powers) == n
    assert is_quorum(powers[0], sum(powers)) == (n < 4)
    assert len(set(powers[1:])) <= 1
    if n >= 4:
        assert seats(powers).faults_tolerated == (n - 1) // 3


def test_the_next_set_opens_the_next_epoch_with_the_seats_in_order() -> None:
    present = seats([1], epoch=6)
    coming = next_set(
        present, tuple((NodeId(b"n%031d" % at), PublicKey(b"k%031d" % at)) for at in range(3))
    )
    assert coming.epoch == 7
    assert [seat.power for seat in coming.validators] == [5, 1, 1]
    assert coming.nodes == tuple(b"n%031d" % at for at in range(3))
    assert coming.hash != present.hash
    assert coming.hash == ValidatorSet(7, coming.validators).hash


@given(st.lists(st.integers(1, 60), min_size=4, max_size=40))
def test_the_cap_is_the_greatest_that_keeps_everybody_below_a_third(powers: list[int]) -> None:
    capped = capped_powers(tuple(powers))

    def fits(cut: int) -> bool:
        total = sum(min(power, cut) for power in powers)
        return all(3 * min(power, cut) < total for power in powers)

    best = max(cut for cut in range(1, max(powers) + 1) if fits(cut))
    assert capped == tuple(min(power, best) for power in powers)
    assert all(Fraction(power, sum(capped)) < THIRD for power in capped)
    assert seats(capped).faults_tolerated >= 1


@pytest.mark.parametrize("n", range(1, 41))
@given(data=st.data())
def test_powers_by_stake_keep_their_order_and_never_vanish(n: int, data: st.DataObject) -> None:
    stakes = tuple(data.draw(st.lists(st.integers(0, 2**63), min_size=n, max_size=n)))
    powers = stake_powers(stakes, 1000, cap=True)
    if n < 4:
        assert powers == admission_powers(n)
        return
    assert all(power >= 1 and 3 * power < sum(powers) for power in powers)
    for one, other in combinations(range(n), 2):
        assert (stakes[one] >= stakes[other]) <= (powers[one] >= powers[other])
    assert stake_powers(stakes, 1000, cap=False) == tuple(
        min(max(1, stake // 1000), 2**53) for stake in stakes
    )


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=9),
    st.sets(st.integers(0, 8)),
    st.lists(st.integers(1, 5), max_size=5),
)
def test_whoever_stays_over_a_boundary_is_a_quorum_of_both_sets(
    powers: list[int], leave: set[int], come: list[int]
) -> None:
    present = seats(powers)
    stay = [one for at, one in enumerate(present.validators) if at not in leave]
    fresh = [Validator(b"m%031d" % at, b"q%031d" % at, power) for at, power in enumerate(come)]
    if not stay and not fresh:
        return
    coming = ValidatorSet(1, (*stay, *fresh))
    fault = change_fault(present, coming)
    kept = frozenset(one.voting_key for one in stay)
    shrinks = len(coming.validators) < len(powers)
    if shrinks and len(coming.validators) < 4:
        assert fault is SetFault.TOO_SMALL
        return
    if fault is None and len(coming.validators) >= 4:
        assert coming.is_quorum(coming.power_of(kept))
    if fault is None and len(powers) >= 4:
        assert present.is_quorum(present.power_of(kept))
    if fault is SetFault.TOO_FAST:
        assert not (
            present.is_quorum(present.power_of(kept)) and coming.is_quorum(coming.power_of(kept))
        )
