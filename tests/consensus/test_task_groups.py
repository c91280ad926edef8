"""The same work done several times: who is paid, what copying needs, and what contradicting the others costs."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.ledger.events import ReputationScoreChanged, TaskGroupChanged
from consensus.ledger.records import TaskState, Verdict
from consensus.ledger.standing import FIRST_SCORE, FOR_AGREEMENT, FOR_MISMATCH, MISMATCHES_PUNISHED
from consensus.operations.groups import (
    AgreementRule,
    AttestGroup,
    CommitResult,
    OfferKinds,
    SubmitGroup,
    member_id,
    result_commitment,
)
from consensus.operations.transactions import (
    ClaimTask,
    CompleteTask,
    FailTask,
    SignedReceipt,
    content_hash,
    sign_receipt,
    task_id,
)
from consensus.parameters import Parameters
from gossip.codec import encode
from tests.consensus.world import HashSigner, Town

LEAD_MS = 60_000
REWARD = 10


@dataclass
class Workshop:
    """An asker, executors, and a group that they have claimed."""

    rule: AgreementRule = AgreementRule.EQUAL
    redundancy: int = 3
    agreement: int = 2
    is_drawn: bool = False
    town: Town = field(default_factory=lambda: Town((1,) * 6, Parameters(reveal_ms=20_000)))
    receipts: dict[bytes, SignedReceipt] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.asker, *others = self.town.nodes
        self.people: dict[bytes, HashSigner] = {one.node_id: one for one in others}
        if self.is_drawn:
            for one in others:
                assert self.town.code(one, OfferKinds(("embed", "rank"))) == "ok"
        self.ask()

    def asked(self, **changes: object) -> SubmitGroup:
        named = () if self.is_drawn else tuple(self.people)[: self.redundancy]
        operation = SubmitGroup(
            "embed",
            content_hash(b"in"),
            REWARD,
            self.redundancy,
            self.agreement,
            self.rule,
            named,
            self.town.now_ms + LEAD_MS,
        )
        return msgspec.structs.replace(operation, **changes)

    def ask(self) -> None:
        transaction = self.town.signed(self.asker, self.asked())
        assert self.town.block(transaction).outcomes[0].code.value == "ok"
        self.group = task_id(transaction.id, 0)
        self.tasks = [member_id(self.group, place) for place in range(self.redundancy)]
        for task in self.tasks:
            assert self.town.code(self.worker(task), ClaimTask(task)) == "ok"

    def worker(self, task: bytes) -> HashSigner:
        known = self.town.ledger.task(task)
        assert known is not None
        assert known.reserved_for is not None
        return self.people[known.reserved_for]

    def commit(self, task: bytes, output: bytes = b"out") -> str:
        worker = self.worker(task)
        plain = self.town.receipt(task, worker).receipt
        receipt = msgspec.structs.replace(plain, output_hash=content_hash(output))
        signed = self.receipts[task] = sign_receipt(worker, receipt)
        return self.town.code(worker, CommitResult(task, result_commitment(encode(signed))))

    def reveal(self, task: bytes) -> str:
        return self.town.code(self.worker(task), CompleteTask(self.receipts[task]))

    def end(self, task: bytes, by: HashSigner) -> str:
        return self.town.code(by, FailTask(task, "over"))

    def wait(self, ms: int) -> None:
        self.town.now_ms += ms

    @property
    def states(self) -> list[str]:
        known = [self.town.ledger.task(task) for task in self.tasks]
        return [one.state.value for one in known if one is not None]

    def has_verdict(self, verdict: Verdict) -> bool:
        group = self.town.ledger.group(self.group)
        assert group is not None
        return group.verdict is verdict

    def all_do(self, *outputs: bytes) -> None:
        for task, output in zip(self.tasks, outputs, strict=True):
            assert self.commit(task, output) == "ok"
        for task in self.tasks:
            assert self.reveal(task) == "ok"


def balances(shop: Workshop) -> list[int]:
    return [shop.town.balance(shop.worker(task)) for task in shop.tasks]


def test_all_who_agree_are_paid_and_nobody_before_all_have_revealed() -> None:
    shop = Workshop()
    before = balances(shop)
    assert shop.town.balance(shop.asker) == 1000 - 3 * REWARD
    for task in shop.tasks:
        assert shop.commit(task) == "ok"
    assert shop.states == ["committed"] * 3
    assert [shop.reveal(task) for task in shop.tasks[:2]] == ["ok", "ok"]
    assert balances(shop) == before
    assert shop.has_verdict(Verdict.OPEN)
    assert shop.reveal(shop.tasks[2]) == "ok"
    assert shop.states == ["settled"] * 3
    assert balances(shop) == [one + REWARD for one in before]
    assert shop.has_verdict(Verdict.AGREED)


def test_who_contradicts_the_others_is_not_paid_and_its_reward_returns() -> None:
    shop = Workshop()
    before = balances(shop)
    shop.all_do(b"out", b"lie", b"out")
    assert shop.states == ["settled", "failed", "settled"]
    assert balances(shop) == [before[0] + REWARD, before[1], before[2] + REWARD]
    assert shop.town.balance(shop.asker) == 1000 - 2 * REWARD
    failed = shop.town.ledger.task(shop.tasks[1])
    assert failed is not None
    assert "others agreed" in failed.reason


def test_without_agreement_nobody_is_paid_or_blamed() -> None:
    shop = Workshop(is_drawn=True)
    shop.all_do(b"one", b"two", b"three")
    assert shop.states == ["failed"] * 3
    assert shop.has_verdict(Verdict.INCONCLUSIVE)
    assert shop.town.balance(shop.asker) == 1000
    assert all(shop.town.ledger.reputation(one.node_id) is None for one in shop.people.values())


def test_nothing_is_revealed_while_another_could_still_copy_it() -> None:
    shop = Workshop()
    for task in shop.tasks[:2]:
        shop.commit(task)
    assert shop.reveal(shop.tasks[0]) == "others_at_work"
    shop.commit(shop.tasks[2])
    assert shop.reveal(shop.tasks[0]) == "ok"


def test_what_is_revealed_must_be_what_was_committed() -> None:
    shop = Workshop()
    for task in shop.tasks:
        shop.commit(task)
    committed = shop.receipts[shop.tasks[0]].receipt
    other = msgspec.structs.replace(committed, output_hash=content_hash(b"copied"))
    worker = shop.worker(shop.tasks[0])
    shop.receipts[shop.tasks[0]] = sign_receipt(worker, other)
    assert shop.reveal(shop.tasks[0]) == "commitment_mismatch"
    assert shop.commit(shop.tasks[0]) == "task_not_assigned"


def test_only_its_executor_commits_and_only_in_time_and_only_in_a_group() -> None:
    shop = Workshop()
    task, other = shop.tasks[0], shop.worker(shop.tasks[1])
    assert shop.town.code(other, CommitResult(task, bytes(32))) == "not_executor"
    assert shop.town.code(other, CommitResult(bytes(32), bytes(32))) == "unknown_task"
    alone = shop.town.claimed(shop.asker, other)
    assert shop.town.code(other, CommitResult(alone, bytes(32))) == "not_in_group"
    shop.wait(LEAD_MS)
    assert shop.commit(task) == "too_late"


def test_who_never_commits_is_left_out_after_the_deadline_and_the_rest_decide() -> None:
    shop = Workshop()
    done, silent = shop.tasks[:2], shop.tasks[2]
    before = balances(shop)
    for task in done:
        shop.commit(task)
    assert shop.end(silent, shop.worker(done[0])) == "task_not_overdue"
    shop.wait(LEAD_MS)
    for task in done:
        assert shop.reveal(task) == "ok"
    assert shop.has_verdict(Verdict.OPEN)
    assert shop.end(silent, shop.worker(done[0])) == "ok"
    assert shop.states == ["settled", "settled", "failed"]
    assert balances(shop) == [before[0] + REWARD, before[1] + REWARD, before[2]]


def test_who_never_reveals_is_left_out_after_the_time_to_reveal() -> None:
    shop = Workshop()
    for task in shop.tasks:
        shop.commit(task)
    for task in shop.tasks[:2]:
        shop.reveal(task)
    shop.wait(LEAD_MS)
    assert shop.end(shop.tasks[2], shop.asker) == "task_not_overdue"
    shop.wait(20_000)
    assert shop.reveal(shop.tasks[2]) == "too_late"
    assert shop.end(shop.tasks[2], shop.asker) == "ok"
    assert shop.states == ["settled", "settled", "failed"]


def test_a_stranger_ends_nothing() -> None:
    shop = Workshop()
    stranger = list(shop.people.values())[-1]
    shop.wait(10 * LEAD_MS)
    assert shop.end(shop.tasks[0], stranger) == "not_party"


def test_the_asker_of_an_attested_group_says_which_results_are_alike() -> None:
    shop = Workshop(rule=AgreementRule.ATTESTED)
    first, second, third = shop.tasks
    assert shop.town.code(shop.asker, AttestGroup(shop.group, (first, second))) == "others_at_work"
    shop.all_do(b"1.00", b"1.01", b"9.99")
    assert shop.states == ["revealed"] * 3
    other = shop.worker(first)
    assert shop.town.code(other, AttestGroup(shop.group, (first, second))) == "not_party"
    assert shop.town.code(shop.asker, AttestGroup(shop.group, (first, first))) == "no_majority"
    assert shop.town.code(shop.asker, AttestGroup(shop.group, (first, bytes(32)))) == "no_majority"
    assert shop.town.code(shop.asker, AttestGroup(shop.group, (first, second))) == "ok"
    assert shop.states == ["settled", "settled", "failed"]
    assert shop.town.code(shop.asker, AttestGroup(shop.group, (third, second))) == "not_to_attest"


def test_an_asker_that_says_nothing_pays_all_who_revealed() -> None:
    shop = Workshop(rule=AgreementRule.ATTESTED)
    shop.all_do(b"1.00", b"1.01", b"9.99")
    worker = shop.worker(shop.tasks[0])
    shop.wait(LEAD_MS + 20_000)
    assert shop.end(shop.tasks[0], worker) == "task_not_overdue"
    shop.wait(20_000)
    assert shop.end(shop.tasks[0], worker) == "ok"
    assert shop.states == ["settled"] * 3


def test_where_the_ledger_draws_reputation_follows_and_repeated_contradiction_costs_stake() -> None:
    shop = Workshop(is_drawn=True, redundancy=5, agreement=3)
    liar = shop.worker(shop.tasks[0])
    stake = shop.town.ledger.stake(liar.node_id)
    assert stake is not None
    start = stake.total
    for round_ in range(1, MISMATCHES_PUNISHED + 1):
        if round_ > 1:
            shop.ask()
        outputs = [b"lie" if shop.worker(task) is liar else b"out" for task in shop.tasks]
        shop.all_do(*outputs)
        reputation = shop.town.ledger.reputation(liar.node_id)
        assert reputation is not None
        assert reputation.score == FIRST_SCORE - round_ * FOR_MISMATCH
        assert reputation.mismatches_in_a_row == round_ % MISMATCHES_PUNISHED
    honest = next(shop.worker(task) for task in shop.tasks if shop.worker(task) is not liar)
    good = shop.town.ledger.reputation(honest.node_id)
    assert good is not None
    assert good.score == FIRST_SCORE + MISMATCHES_PUNISHED * FOR_AGREEMENT
    left = shop.town.ledger.stake(liar.node_id)
    assert left is not None
    percent = shop.town.ledger.parameters.slash_percent
    assert left.total == start - start * percent // 100
    assert not left.condemned


def test_an_agreement_ends_a_row_of_mismatches() -> None:
    shop = Workshop(is_drawn=True, redundancy=5, agreement=3)
    liar = shop.worker(shop.tasks[0])
    for lies in (True, True, False, True):
        shop.all_do(*(b"lie" if lies and shop.worker(t) is liar else b"out" for t in shop.tasks))
        shop.ask()
    reputation = shop.town.ledger.reputation(liar.node_id)
    assert reputation is not None
    assert reputation.mismatches_in_a_row == 1


def test_an_asker_that_chose_its_executors_can_harm_nobody() -> None:
    shop = Workshop()
    shop.all_do(b"out", b"lie", b"out")
    assert all(shop.town.ledger.reputation(one.node_id) is None for one in shop.people.values())


def test_the_draw_is_of_those_who_offer_the_kind_and_differs_from_group_to_group() -> None:
    town = Town((1,) * 6)
    asker, *others = town.nodes
    for one in others[:4]:
        town.code(one, OfferKinds(("embed",)))
    town.code(others[4], OfferKinds(("rank",)))
    town.code(asker, OfferKinds(("embed",)))
    drawn: set[frozenset[bytes]] = set()
    for _ in range(12):
        operation = SubmitGroup(
            "embed", bytes(32), 1, 2, 2, AgreementRule.EQUAL, (), town.now_ms + LEAD_MS
        )
        result = town.block(town.signed(asker, operation))
        (group,) = (one for one in result.events if isinstance(one, TaskGroupChanged))
        tasks = [town.ledger.task(name) for name in group.now.tasks]
        drawn.add(frozenset(one.reserved_for for one in tasks if one and one.reserved_for))
    assert all(len(pair) == 2 for pair in drawn)
    assert frozenset().union(*drawn) <= {one.node_id for one in others[:4]}
    assert len(drawn) > 1
    town.code(others[0], OfferKinds(()))
    assert town.ledger.offering(others[0].node_id) == ()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"reward": 0}, "reward_too_small"),
        ({"reward": 2**62}, "overdraft"),
        ({"reward": 400}, "overdraft"),
        ({"deadline_ms": 1}, "deadline_out_of_range"),
        ({"agreement": 1}, "no_majority"),
        ({"agreement": 4}, "no_majority"),
        ({"executors": ()}, "too_few_executors"),
        ({"redundancy": 4, "agreement": 3}, "too_few_executors"),
        ({"executors": (b"\x01" * 32, b"\x02" * 32, b"\x03" * 32)}, "executor_not_member"),
    ],
)
def test_what_no_group_can_be_is_refused(changes: dict[str, object], code: str) -> None:
    shop = Workshop()
    assert shop.town.code(shop.asker, shop.asked(**changes)) == code


def test_the_same_node_twice_is_no_redundancy() -> None:
    shop = Workshop()
    first, second, _ = tuple(shop.people)[:3]
    twice = shop.asked(executors=(first, second, first))
    assert shop.town.code(shop.asker, twice) == "too_few_executors"


def test_reputation_is_told_as_an_event() -> None:
    shop = Workshop(is_drawn=True)
    shop.all_do(b"out", b"lie", b"out")
    told = [one for one in shop.town.results[-1].events if isinstance(one, ReputationScoreChanged)]
    assert sorted(one.reason for one in told) == ["agreed", "agreed", "mismatch"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["commit", "reveal", "end", "attest", "wait"]),
            st.integers(0, 4),
            st.integers(0, 3),
        ),
        max_size=40,
    ),
    st.sampled_from(list(AgreementRule)),
    st.booleans(),
)
def test_whatever_happens_in_whatever_order_money_is_kept_and_every_group_can_end(
    steps: list[tuple[str, int, int]], rule: AgreementRule, is_drawn: bool
) -> None:
    shop = Workshop(rule=rule, redundancy=4, agreement=3, is_drawn=is_drawn)
    for what, place, other in steps:
        task = shop.tasks[place % 4]
        match what:
            case "commit":
                shop.commit(task, b"%d" % (other // 2))
            case "reveal" if task in shop.receipts:
                shop.reveal(task)
            case "end":
                shop.end(task, shop.worker(shop.tasks[other]) if other else shop.asker)
            case "attest":
                shop.town.code(shop.asker, AttestGroup(shop.group, tuple(shop.tasks[: 2 + other])))
            case _:
                shop.wait(7_000 * place)
    shop.wait(LEAD_MS + 100_000)
    for _ in range(2):
        for task in shop.tasks:
            shop.end(task, shop.asker)
    final = {TaskState.SETTLED.value, TaskState.FAILED.value, TaskState.CANCELLED.value}
    assert set(shop.states) <= final
    assert (shop.has_verdict(Verdict.AGREED)) == ("settled" in shop.states)
