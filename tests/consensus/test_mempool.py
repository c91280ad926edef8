from __future__ import annotations

from collections import defaultdict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consensus.mempool import Added, Limits, Mempool, RefusalCode, Refused
from consensus.operations.transactions import FailTask, Transaction, Transfer, sign_transaction
from tests.consensus.world import HashSigner, Town

BOB, CAROL = HashSigner("bob"), HashSigner("carol")
PAY = Transfer(b"\x07" * 32, 1)


def town_of(*people: HashSigner, amount: int = 200) -> Town:
    town = Town()
    for person in people:
        assert town.code(town.nodes[0], Transfer(person.node_id, amount)) == "ok"
    return town


def pool_of(town: Town, **limits: int) -> Mempool:
    return Mempool(town.genesis.federation_id, Limits(**limits))


def refusal(answer: Added | Refused) -> RefusalCode:
    assert isinstance(answer, Refused), answer
    assert answer.reason
    return answer.code


def commit(town: Town, pool: Mempool, *transactions: Transaction) -> list[RefusalCode]:
    """Execute a block of these and tell the pool; the codes of what it dropped."""
    town.block(*transactions)
    return [one.code for one in pool.remove_committed(town.executed[-1], town.ledger)]


def test_what_is_added_is_selected_in_nonce_order() -> None:
    town = town_of(BOB)
    pool = pool_of(town)
    second, first = (town.signed(BOB, PAY, nonce=nonce) for nonce in (1, 0))
    assert pool.add(second, town.ledger) == Added(is_ready=False)
    assert not pool.has_ready()
    assert pool.select(10, 10**6) == ()
    assert pool.add(first, town.ledger) == Added(is_ready=True)
    assert pool.has_ready()
    assert pool.select(10, 10**6) == (first, second)
    assert pool.waiting(10) == (second, first)
    assert pool.waiting(1) == (second,)
    assert pool.next_nonce(BOB.node_id, town.ledger) == 2
    assert pool.get(first.id) == first
    assert pool.contains(second.id)


def test_of_two_with_one_nonce_the_one_that_expires_sooner_stays_in_whatever_order_they_come() -> (
    None
):
    town = town_of(BOB)
    sooner, later = (town.signed(BOB, PAY, expiry=expiry) for expiry in (50, 60))
    for first, second in ((later, sooner), (sooner, later)):
        pool = pool_of(town, max_sender_count=1)
        assert pool.add(first, town.ledger) == Added(is_ready=True)
        answer = pool.add(second, town.ledger)
        if second is sooner:
            assert answer == Added(is_ready=True, replaced=later)
        else:
            assert refusal(answer) is RefusalCode.NONCE_TAKEN
        assert pool.ids() == (sooner.id,)
        assert pool.select(10, 10**6) == (sooner,)
        assert pool.size_bytes == len(sooner.raw)


def test_a_replacement_may_spend_what_its_predecessor_would_have_spent() -> None:
    town = town_of(BOB, amount=10)
    pool = pool_of(town)
    everything = Transfer(CAROL.node_id, 10)
    assert isinstance(pool.add(town.signed(BOB, everything, expiry=60), town.ledger), Added)
    assert isinstance(pool.add(town.signed(BOB, everything, expiry=50), town.ledger), Added)


def test_who_has_something_urgent_comes_first() -> None:
    town = town_of(BOB, CAROL)
    pool = pool_of(town)
    payments = [town.signed(BOB, PAY, nonce=nonce) for nonce in range(3)]
    for payment in payments:
        pool.add(payment, town.ledger)
    give_back = town.signed(CAROL, FailTask(bytes(32), "late"))
    pool.add(give_back, town.ledger)
    assert pool.select(2, 10**6) == (give_back, payments[0])
    assert commit(town, pool, give_back) == []
    assert pool.select(10, 10**6) == tuple(payments)


def test_refusals_say_why() -> None:
    town = town_of(BOB)
    pool = pool_of(town, max_gap=3)
    first = town.signed(BOB, PAY)
    assert isinstance(pool.add(first, town.ledger), Added)
    assert refusal(pool.add(first, town.ledger)) is RefusalCode.DUPLICATE
    other = town.signed(BOB, Transfer(CAROL.node_id, 2))
    assert refusal(pool.add(other, town.ledger)) is RefusalCode.NONCE_TAKEN
    assert isinstance(pool.add(town.signed(BOB, PAY, nonce=4), town.ledger), Added)
    far = town.signed(BOB, PAY, nonce=5)
    assert refusal(pool.add(far, town.ledger)) is RefusalCode.NONCE_TOO_FAR
    nobody = town.signed(CAROL, PAY)
    assert refusal(pool.add(nobody, town.ledger)) is RefusalCode.UNKNOWN_ACCOUNT
    late = town.signed(BOB, PAY, nonce=1, expiry=town.ledger.height)
    assert refusal(pool.add(late, town.ledger)) is RefusalCode.EXPIRED
    abroad = sign_transaction(BOB, msgspec.structs.replace(first.body, chain=bytes(32)))
    assert refusal(pool.add(abroad, town.ledger)) is RefusalCode.WRONG_CHAIN
    huge = town.signed(BOB, *(PAY for _ in range(2000)), nonce=1)
    assert refusal(pool.add(huge, town.ledger)) is RefusalCode.TOO_LARGE
    assert commit(town, pool, first) == []
    assert refusal(pool.add(first, town.ledger)) is RefusalCode.BAD_NONCE


def test_an_overdraft_counts_what_waits_already() -> None:
    town = town_of(BOB)
    pool = pool_of(town)
    own = Transfer(BOB.node_id, 10**6)
    assert isinstance(pool.add(town.signed(BOB, own), town.ledger), Added)
    spend = [town.signed(BOB, Transfer(CAROL.node_id, 150), nonce=nonce) for nonce in (1, 2)]
    assert isinstance(pool.add(spend[0], town.ledger), Added)
    assert refusal(pool.add(spend[1], town.ledger)) is RefusalCode.OVERDRAFT
    task = town.signed(BOB, town.submission(51), nonce=2)
    assert refusal(pool.add(task, town.ledger)) is RefusalCode.OVERDRAFT


def test_what_is_committed_no_longer_counts_against_the_balance() -> None:
    town = town_of(BOB)
    pool = pool_of(town)
    paid, waits, more = (
        town.signed(BOB, Transfer(CAROL.node_id, amount), nonce=nonce)
        for nonce, amount in enumerate((150, 10, 40))
    )
    for one in (paid, waits):
        assert isinstance(pool.add(one, town.ledger), Added)
    commit(town, pool, paid)
    assert isinstance(pool.add(more, town.ledger), Added)


def test_bounds_hold_for_each_sender_and_for_all() -> None:
    town = town_of(BOB, CAROL)
    pool = pool_of(town, max_count=5, max_sender_count=3)
    for nonce in range(3):
        assert isinstance(pool.add(town.signed(BOB, PAY, nonce=nonce), town.ledger), Added)
    more = town.signed(BOB, PAY, nonce=3)
    assert refusal(pool.add(more, town.ledger)) is RefusalCode.SENDER_FULL
    for nonce in range(2):
        assert isinstance(pool.add(town.signed(CAROL, PAY, nonce=nonce), town.ledger), Added)
    full = town.signed(CAROL, PAY, nonce=2)
    assert refusal(pool.add(full, town.ledger)) is RefusalCode.FULL
    size = len(full.raw)
    assert pool.size_bytes == sum(len(one.raw) for one in pool.waiting(10))
    narrow = pool_of(town, max_sender_bytes=size)
    assert isinstance(narrow.add(town.signed(CAROL, PAY), town.ledger), Added)
    second = town.signed(CAROL, PAY, nonce=1)
    assert refusal(narrow.add(second, town.ledger)) is RefusalCode.SENDER_FULL
    tight = pool_of(town, max_size_bytes=size)
    assert isinstance(tight.add(town.signed(CAROL, PAY), town.ledger), Added)
    assert refusal(tight.add(town.signed(BOB, PAY), town.ledger)) is RefusalCode.FULL


def test_a_flood_of_one_sender_leaves_room_for_the_others() -> None:
    town = town_of(BOB, CAROL)
    pool = pool_of(town)
    for nonce in range(50):
        pool.add(town.signed(BOB, PAY, nonce=nonce), town.ledger)
    single = town.signed(CAROL, PAY)
    pool.add(single, town.ledger)
    chosen = pool.select(10, 10**6)
    assert len(chosen) == 10
    assert chosen[1] == single
    assert commit(town, pool, *chosen) == []
    pool.add(town.signed(CAROL, PAY), town.ledger)
    assert {one.body.sender for one in pool.select(2, 10**6)} == {BOB.node_id, CAROL.node_id}


def test_a_selection_stays_within_its_bytes() -> None:
    town = town_of(BOB, CAROL)
    pool = pool_of(town)
    big = town.signed(BOB, *(PAY for _ in range(50)))
    small = town.signed(CAROL, PAY)
    for one in (big, town.signed(BOB, PAY, nonce=1), small):
        pool.add(one, town.ledger)
    assert pool.select(10, len(big.raw) - 1) == (small,)
    assert pool.select(10, len(big.raw)) == (big,)
    assert pool.select(10, 0) == ()
    assert pool.select(0, 10**6) == ()


def test_committed_and_impossible_ones_leave_with_their_reason() -> None:
    town = town_of(BOB)
    pool = pool_of(town)
    height = town.ledger.height
    mine = town.signed(BOB, PAY)
    elsewhere = town.signed(BOB, Transfer(CAROL.node_id, 5))
    short_lived = town.signed(BOB, PAY, nonce=2, expiry=height + 1)
    for one in (mine, town.signed(BOB, PAY, nonce=1), short_lived):
        assert isinstance(pool.add(one, town.ledger), Added)
    dropped = commit(town, pool, elsewhere)
    assert sorted(code.value for code in dropped) == ["bad_nonce", "expired"]
    assert pool.size == 1
    assert [one.body.nonce for one in pool.select(10, 10**6)] == [1]


def test_a_gap_left_by_an_expired_one_holds_what_follows() -> None:
    town = town_of(BOB)
    pool = pool_of(town)
    expiry = town.ledger.height + 1
    pool.add(town.signed(BOB, PAY, expiry=expiry), town.ledger)
    pool.add(town.signed(BOB, PAY, nonce=1), town.ledger)
    assert commit(town, pool) == [RefusalCode.EXPIRED]
    assert not pool.has_ready()
    assert pool.size == 1
    pool.add(town.signed(BOB, PAY), town.ledger)
    assert len(pool.select(10, 10**6)) == 2


def test_what_failed_without_using_its_nonce_leaves_as_well() -> None:
    town = town_of(BOB)
    pool = pool_of(town)
    early = town.signed(BOB, PAY, nonce=1)
    pool.add(early, town.ledger)
    assert commit(town, pool, early) == []
    assert pool.size == 0
    assert not pool.has_ready()


def test_the_heap_of_expiries_does_not_grow_for_ever() -> None:
    town = town_of(BOB, amount=900)
    pool = pool_of(town, max_gap=1)
    for _ in range(40):
        batch = [
            town.signed(BOB, Transfer(BOB.node_id, 1), nonce=town.nonce(BOB) + at)
            for at in range(50)
        ]
        for one in batch:
            assert isinstance(pool.add(one, town.ledger), Added)
        commit(town, pool, *batch)
    assert pool.size == 0
    assert len(pool._expiries) <= 1024


class PoolModel(RuleBasedStateMachine):
    """Any order of arrival, blocks made here or elsewhere: the pool keeps its promises."""

    @initialize()
    def begin(self) -> None:
        self.people = [BOB, CAROL, HashSigner("dave")]
        self.town = town_of(*self.people)
        self.pool = pool_of(self.town, max_count=12, max_sender_count=6, max_gap=4)

    @rule(
        who=st.integers(0, 2),
        ahead=st.integers(0, 6),
        amount=st.integers(1, 90),
        lasting=st.integers(0, 5),
    )
    def add(self, who: int, ahead: int, amount: int, lasting: int) -> None:
        person = self.people[who]
        transaction = self.town.signed(
            person,
            Transfer(self.people[0].node_id, amount),
            nonce=self.town.nonce(person) + ahead,
            expiry=self.town.ledger.height + lasting,
        )
        answer = self.pool.add(transaction, self.town.ledger)
        assert self.pool.contains(transaction.id) == (
            isinstance(answer, Added) or answer.code is RefusalCode.DUPLICATE
        )

    @rule(count=st.integers(0, 5))
    def commit_selected(self, count: int) -> None:
        chosen = self.pool.select(count, 10**6) if count else ()
        result = self.town.block(*chosen)
        assert all(outcome.ok for outcome in result.outcomes), "selected what can't be executed"
        self.pool.remove_committed(self.town.executed[-1], self.town.ledger)
        assert not any(self.pool.contains(one.id) for one in chosen)

    @rule(who=st.integers(0, 2), amount=st.integers(1, 20))
    def commit_elsewhere(self, who: int, amount: int) -> None:
        foreign = self.town.signed(self.people[who], Transfer(self.people[1].node_id, amount))
        self.town.block(foreign)
        self.pool.remove_committed(self.town.executed[-1], self.town.ledger)

    @invariant()
    def promises_hold(self) -> None:
        waiting, ledger = self.pool.waiting(100), self.town.ledger
        assert len(waiting) == self.pool.size <= 12
        assert self.pool.size_bytes == sum(len(one.raw) for one in waiting)
        nonces = defaultdict[bytes, set[int]](set)
        for one in waiting:
            account = ledger.account(one.body.sender)
            assert account is not None
            assert account.nonce <= one.body.nonce
            assert one.body.expiry_height > ledger.height
            assert one.body.nonce not in nonces[one.body.sender]
            nonces[one.body.sender].add(one.body.nonce)
        selected = self.pool.select(100, 10**6)
        assert bool(selected) == self.pool.has_ready()
        for sender, held in nonces.items():
            account = ledger.account(sender)
            assert account is not None
            in_order = [one.body.nonce for one in selected if one.body.sender == sender]
            assert len(held) <= 6
            expected = account.nonce
            while expected in held:
                expected += 1
            assert in_order == list(range(account.nonce, expected))


TestPoolModel = PoolModel.TestCase
TestPoolModel.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("senders", [1, 7])
@given(counts=st.lists(st.integers(1, 6), min_size=7, max_size=7), at_most=st.integers(1, 30))
@settings(max_examples=20)
def test_turns_differ_by_one_at_most(senders: int, counts: list[int], at_most: int) -> None:
    """Nobody gets two places more than another who still waits."""
    people = [HashSigner(f"sender {at}") for at in range(senders)]
    town = town_of(*people, amount=100)
    pool = pool_of(town)
    for person, count in zip(people, counts, strict=False):
        for nonce in range(count):
            pool.add(town.signed(person, PAY, nonce=nonce), town.ledger)
    chosen = pool.select(at_most, 10**6)
    got = [sum(one.body.sender == person.node_id for one in chosen) for person in people]
    unsatisfied = [got[at] for at in range(senders) if got[at] < counts[at]]
    assert len(chosen) == min(at_most, sum(counts[:senders]))
    if unsatisfied:
        assert max(got) - min(unsatisfied) <= 1
