from __future__ import annotations

import msgspec
import pytest

from consensus.genesis import Genesis, found
from consensus.ledger.events import AccountChanged, EpochChanged, MemberChanged, TaskChanged
from consensus.ledger.machine import Ledger, LedgerError
from consensus.ledger.outcomes import Code, Outcome
from consensus.ledger.records import Account, Approval, Candidacy, Role, StakeRecord, TaskState
from consensus.ledger.seats import prune_words
from consensus.ledger.state import Draft, State
from consensus.ledger.state_tree import check_proof
from consensus.ledger.tables import ACCOUNTS, CANDIDATES
from consensus.merkle import path_leads_to
from consensus.operations.transactions import (
    MAX_OPERATIONS,
    AdmitObserver,
    ApproveValidator,
    ClaimTask,
    CompleteTask,
    FailTask,
    Remark,
    SettleTask,
    Transfer,
    countersign,
    sign_receipt,
    sign_transaction,
    task_id,
)
from consensus.parameters import Parameters
from consensus.quorum import ValidatorSet
from gossip.codec import Digest, decode_canonical, encode
from tests.consensus.world import HashSigner, HashVerifier, MemoryReader, Town

BOB, CAROL, NEW_KEY = HashSigner("bob"), HashSigner("carol"), HashSigner("bob's voting key")


def test_a_transfer_moves_money_and_opens_the_account() -> None:
    town = Town()
    founder = town.nodes[0]
    result = town.block(town.signed(founder, Transfer(BOB.node_id, 300)))
    assert result.outcomes[0].ok
    assert (town.balance(founder), town.balance(BOB)) == (700, 300)
    assert town.ledger.account(BOB.node_id) == Account(300, 0)
    changes = [event for event in result.events if isinstance(event, AccountChanged)]
    assert {change.account: change.now.balance for change in changes} == {
        founder.node_id: 700,
        BOB.node_id: 300,
    }


def test_an_overdraft_fails_with_its_figures_and_uses_the_nonce() -> None:
    town = Town()
    outcome = town.block(town.signed(town.nodes[0], Transfer(BOB.node_id, 1001))).outcomes[0]
    assert (outcome.ok, outcome.code) == (False, Code.OVERDRAFT)
    assert outcome.reason == "the balance is 1000, 1001 were needed"
    assert town.nonce(town.nodes[0]) == 1
    assert town.balance(BOB) == -1


def test_a_transfer_to_oneself_changes_nothing_but_must_be_covered() -> None:
    town = Town()
    founder = town.nodes[0]
    assert town.code(founder, Transfer(founder.node_id, 1000)) == "ok"
    assert town.code(founder, Transfer(founder.node_id, 1001)) == "overdraft"
    assert town.balance(founder) == 1000


def test_operations_succeed_together_or_fail_together() -> None:
    town = Town()
    founder = town.nodes[0]
    operations = (Transfer(BOB.node_id, 400), Transfer(CAROL.node_id, 700))
    outcome = town.block(town.signed(founder, *operations)).outcomes[0]
    assert (outcome.code, outcome.operation) == (Code.OVERDRAFT, 1)
    assert town.balance(founder) == 1000
    assert town.balance(BOB) == -1


def test_a_thousand_operations_stand_under_one_signature() -> None:
    town = Town()
    many = tuple(Transfer(BOB.node_id, 1) for _ in range(MAX_OPERATIONS))
    assert town.code(town.nodes[0], *many) == "ok"
    assert town.balance(BOB) == 1000


def test_transactions_of_one_block_see_each_other_in_order() -> None:
    town = Town()
    founder = town.nodes[0]
    result = town.block(
        town.signed(founder, Transfer(BOB.node_id, 1000)),
        town.signed(BOB, Transfer(CAROL.node_id, 600)),
        town.signed(founder, Transfer(BOB.node_id, 1), nonce=1),
        town.signed(BOB, Transfer(founder.node_id, 400), nonce=1),
    )
    assert [outcome.code.value for outcome in result.outcomes] == ["ok", "ok", "overdraft", "ok"]
    assert [town.balance(who) for who in (founder, BOB, CAROL)] == [400, 0, 600]


def test_what_must_not_be_executed_changes_nothing_at_all() -> None:
    town = Town()
    founder = town.nodes[0]
    first = town.signed(founder, Transfer(BOB.node_id, 1))
    town.block(first)
    before = town.ledger.state_root
    pay = Transfer(BOB.node_id, 1)
    elsewhere = sign_transaction(
        founder, msgspec.structs.replace(town.signed(founder, pay).body, chain=b"\x09" * 32)
    )
    result = town.block(
        first,
        town.signed(founder, pay, nonce=7),
        town.signed(CAROL, pay),
        town.signed(founder, pay, expiry=1),
        elsewhere,
    )
    codes = [outcome.code.value for outcome in result.outcomes]
    assert codes == ["bad_nonce", "bad_nonce", "unknown_account", "expired", "wrong_chain"]
    assert town.ledger.state_root == before
    assert result.outcomes[0].reason == "nonce 0 given, the account's next one is 1"
    assert result.events == ()


def test_the_expiry_height_is_the_last_that_counts() -> None:
    town = Town()
    founder = town.nodes[0]
    pay = Transfer(BOB.node_id, 1)
    assert town.block(town.signed(founder, pay, expiry=1)).outcomes[0].ok
    assert town.block(town.signed(founder, pay, expiry=1)).outcomes[0].code is Code.EXPIRED


# Tasks.


def admitted() -> Town:
    """Founder and Bob are members, Carol has money only."""
    town = Town(parameters=Parameters(observer_grant=50))
    assert town.code(town.nodes[0], AdmitObserver(BOB.node_id, None)) == "ok"
    assert town.code(town.nodes[0], Transfer(CAROL.node_id, 100)) == "ok"
    return town


def test_a_task_is_submitted_claimed_completed_and_paid() -> None:
    town = admitted()
    founder = town.nodes[0]
    transaction = town.signed(founder, town.submission(40))
    town.block(transaction)
    task = task_id(transaction.id, 0)
    assert town.balance(founder) == 860
    assert town.code(BOB, ClaimTask(task)) == "ok"
    assert town.code(BOB, town.completion(task, BOB)) == "ok"
    assert town.balance(BOB) == 90
    settled = town.ledger.task(task)
    assert settled is not None
    assert settled.state is TaskState.SETTLED
    assert settled.executor == BOB.node_id
    assert settled.output_hash == town.receipt(task, BOB).receipt.output_hash
    states = [
        event.now.state
        for result in town.results
        for event in result.events
        if isinstance(event, TaskChanged)
    ]
    assert states == [TaskState.QUEUED, TaskState.ASSIGNED, TaskState.SETTLED]


def test_submitting_is_for_members_with_money_and_a_sensible_deadline() -> None:
    town = admitted()
    founder, longest = town.nodes[0], town.genesis.parameters.max_task_lead_ms
    assert town.code(CAROL, town.submission()) == "not_member"
    assert town.code(founder, town.submission(0)) == "reward_too_small"
    assert town.code(founder, town.submission(901)) == "overdraft"
    assert town.code(founder, town.submission(lead_ms=0)) == "deadline_out_of_range"
    assert town.code(founder, town.submission(lead_ms=longest + 1)) == "deadline_out_of_range"
    assert town.code(founder, town.submission(lead_ms=longest)) == "ok"
    assert town.code(founder, town.submission(executor=CAROL)) == "executor_not_member"
    assert town.code(founder, town.submission(executor=BOB)) == "ok"


def test_claiming_is_for_members_once_and_respects_the_named_executor() -> None:
    town = admitted()
    founder = town.nodes[0]
    task = town.submitted(founder)
    assert town.code(CAROL, ClaimTask(task)) == "not_member"
    assert town.code(BOB, ClaimTask(bytes(32))) == "unknown_task"
    assert town.code(BOB, ClaimTask(task)) == "ok"
    assert town.code(founder, ClaimTask(task)) == "task_not_queued"
    named = town.signed(founder, town.submission(executor=BOB))
    town.block(named)
    assert town.code(founder, ClaimTask(task_id(named.id, 0))) == "task_reserved"
    assert town.code(BOB, ClaimTask(task_id(named.id, 0))) == "ok"


@pytest.mark.parametrize("field", ["chain", "input_hash", "asker", "executor", "kind"])
def test_a_receipt_about_something_else_pays_nothing(field: str) -> None:
    town = admitted()
    task = town.claimed(town.nodes[0], BOB)
    wrong = "rank" if field == "kind" else b"\x01" * 32
    receipt = msgspec.structs.replace(town.receipt(task, BOB).receipt, **{field: wrong})
    assert town.code(BOB, CompleteTask(sign_receipt(BOB, receipt))) == "receipt_mismatch"


def test_only_the_claimer_completes_with_its_own_signature_and_once() -> None:
    town = admitted()
    founder = town.nodes[0]
    queued = town.submitted(founder)
    assert town.code(BOB, town.completion(queued, BOB)) == "task_not_assigned"
    task = town.claimed(founder, BOB)
    good = town.completion(task, BOB)
    assert town.code(founder, good) == "not_executor"
    unsigned = sign_receipt(CAROL, good.signed.receipt)
    assert town.code(BOB, CompleteTask(unsigned)) == "receipt_unsigned"
    nowhere = msgspec.structs.replace(good.signed.receipt, task=bytes(32))
    assert town.code(BOB, CompleteTask(sign_receipt(BOB, nowhere))) == "unknown_task"
    assert town.code(BOB, good) == "ok"
    assert town.code(BOB, good) == "task_not_assigned"
    assert town.balance(BOB) == 60


def test_the_askers_word_is_believed_only_under_this_very_receipt() -> None:
    town = admitted()
    founder = town.nodes[0]
    task, other = town.claimed(founder, BOB), town.claimed(founder, BOB)
    signed = town.receipt(task, BOB)
    for wrong in (
        bytes(64),
        countersign(BOB, signed),
        countersign(founder, town.receipt(other, BOB)),
    ):
        assert town.code(BOB, SettleTask(signed, wrong)) == "not_countersigned"
    assert town.code(founder, SettleTask(signed, countersign(founder, signed))) == "not_executor"
    assert town.code(BOB, SettleTask(signed, countersign(founder, signed))) == "ok"
    assert town.code(BOB, CompleteTask(signed)) == "task_not_assigned"
    assert town.ledger.task(task).receipt == signed  # type: ignore[union-attr] # it is there


def test_an_executor_may_give_up_and_the_reward_returns() -> None:
    town = admitted()
    founder = town.nodes[0]
    task = town.claimed(founder, BOB, reward=100)
    assert town.code(BOB, FailTask(task, "out of memory")) == "ok"
    failed = town.ledger.task(task)
    assert failed is not None
    assert (failed.state, failed.reason) == (TaskState.FAILED, "out of memory")
    assert town.balance(founder) == 900


def test_an_asker_takes_back_what_nobody_claimed() -> None:
    town = admitted()
    founder = town.nodes[0]
    task = town.submitted(founder, reward=100)
    assert town.code(CAROL, FailTask(task, "")) == "not_party"
    assert town.code(founder, FailTask(bytes(32), "")) == "unknown_task"
    assert town.code(founder, FailTask(task, "changed my mind")) == "ok"
    assert town.code(founder, FailTask(task, "again")) == "task_not_assigned"
    assert town.ledger.tasks(state=TaskState.CANCELLED)[0][0] == task
    assert town.balance(founder) == 900


def test_an_asker_takes_back_a_claimed_task_from_its_deadline_on() -> None:
    town = admitted()
    founder = town.nodes[0]
    task = town.claimed(founder, BOB, reward=100)
    known = town.ledger.task(task)
    assert known is not None
    town.now_ms = known.deadline_ms - 1001
    assert town.code(founder, FailTask(task, "late")) == "task_not_overdue"
    town.now_ms = known.deadline_ms - 1000
    assert town.code(founder, FailTask(task, "late")) == "ok"
    assert town.code(BOB, CompleteTask(town.receipt(task, BOB))) == "task_not_assigned"
    assert town.balance(founder) == 900


def test_tasks_are_listed_by_state_and_party_oldest_first() -> None:
    town = admitted()
    founder = town.nodes[0]
    first, second = town.claimed(founder, BOB), town.submitted(BOB)
    ledger = town.ledger
    assert [name for name, _ in ledger.tasks()] == [first, second]
    assert [name for name, _ in ledger.tasks(state=TaskState.QUEUED)] == [second]
    assert [name for name, _ in ledger.tasks(submitter=BOB.node_id)] == [second]
    assert [name for name, _ in ledger.tasks(executor=BOB.node_id)] == [first]


# Admission.


def test_an_invite_lets_one_node_in_with_its_grant() -> None:
    town = Town(parameters=Parameters(observer_grant=50))
    founder, invite = town.nodes[0], b"\x05" * 32
    result = town.block(town.signed(founder, AdmitObserver(BOB.node_id, invite)))
    assert town.balance(BOB) == 50
    assert town.ledger.is_invite_used(invite)
    admitted = [event for event in result.events if isinstance(event, MemberChanged)]
    assert [(event.node, event.role) for event in admitted] == [(BOB.node_id, Role.OBSERVER)]
    assert town.code(founder, AdmitObserver(CAROL.node_id, invite)) == "invite_used"
    assert town.code(founder, AdmitObserver(BOB.node_id, None)) == "already_member"
    assert town.code(BOB, AdmitObserver(CAROL.node_id, None)) == "not_validator"
    assert town.code(founder, AdmitObserver(town.keys[0].public, None)) == "voting_key_taken"


def test_a_treasury_that_cannot_pay_admits_without_a_grant() -> None:
    town = Town(parameters=Parameters(supply=1049, observer_grant=50))
    assert town.code(town.nodes[0], AdmitObserver(BOB.node_id, None)) == "ok"
    assert town.ledger.account(BOB.node_id) == Account(0, 0)
    assert town.ledger.account(town.genesis.treasury) == Account(49, 0)


def test_a_founder_alone_seats_a_validator_from_the_next_height_on() -> None:
    town = Town(parameters=Parameters(observer_grant=50, validator_grant=7, min_stake=5))
    founder = town.nodes[0]
    town.code(founder, AdmitObserver(BOB.node_id, None))
    approval = ApproveValidator(BOB.node_id, NEW_KEY.public)
    result = town.block(town.signed(founder, approval))
    assert result.next_set.epoch == 1
    assert result.next_set.nodes == (founder.node_id, BOB.node_id)
    assert [seat.power for seat in result.next_set.validators] == [3, 1]
    assert town.ledger.validators == result.next_set
    assert EpochChanged(result.next_set) in result.events
    member = town.ledger.member(BOB.node_id)
    assert member is not None
    assert member.role is Role.VALIDATOR
    assert town.balance(BOB) == 52
    assert town.ledger.stake(BOB.node_id) == StakeRecord(own=5)
    assert town.code(founder, approval) == "already_validator"
    assert town.block().next_set == result.next_set


def test_who_is_unfit_is_not_approved() -> None:
    town = Town((1, 1, 1, 1))
    founder = town.nodes[0]
    town.code(founder, AdmitObserver(BOB.node_id, None))
    key = NEW_KEY.public
    assert town.code(founder, ApproveValidator(CAROL.node_id, key)) == "not_member"
    assert town.code(BOB, ApproveValidator(BOB.node_id, key)) == "not_validator"
    for taken in (town.keys[1].public, town.nodes[1].node_id, BOB.node_id):
        assert town.code(founder, ApproveValidator(BOB.node_id, taken)) == "voting_key_taken"


def test_more_than_two_thirds_must_approve_the_same_key() -> None:
    town = Town((1, 1, 1, 1))
    one, two, three, four = town.nodes
    town.code(one, AdmitObserver(BOB.node_id, None))
    approval = ApproveValidator(BOB.node_id, NEW_KEY.public)
    other = ApproveValidator(BOB.node_id, HashSigner("another key").public)
    assert town.code(one, approval) == "ok"
    assert town.code(two, approval) == "ok"
    assert town.code(two, approval) == "ok"
    assert town.code(three, other) == "ok"
    assert town.ledger.validators.epoch == 0
    assert town.code(two, other) == "ok"
    assert town.code(four, approval) == "ok"
    assert town.ledger.validators.epoch == 0, "two left the first key for two on each"
    assert town.code(two, approval) == "ok"
    coming = town.ledger.validators
    assert (coming.epoch, len(coming.validators)) == (1, 5)
    assert coming.validators[-1].voting_key == NEW_KEY.public
    assert coming.validators[-1].power == 1


def test_words_of_those_without_a_seat_are_forgotten() -> None:
    town = Town((1, 1, 1))
    gone, stays = town.nodes[2], town.nodes[0]
    both, single = HashSigner("both").node_id, HashSigner("single").node_id
    words = {who: Approval(who.node_id, NEW_KEY.public) for who in (gone, stays)}
    state = State()
    state.put(CANDIDATES.key(both), Candidacy((words[gone], words[stays])))
    state.put(CANDIDATES.key(single), Candidacy((words[gone],)))
    draft = Draft(state)
    seats = town.genesis.first_set().validators[:2]
    prune_words(draft, ValidatorSet(1, seats))
    assert draft.items(CANDIDATES) == [(both, Candidacy((words[stays],)))]


def test_all_changes_of_a_block_make_one_epoch() -> None:
    town = Town()
    founder = town.nodes[0]
    town.code(founder, AdmitObserver(BOB.node_id, None), AdmitObserver(CAROL.node_id, None))
    approvals = (
        ApproveValidator(BOB.node_id, NEW_KEY.public),
        ApproveValidator(CAROL.node_id, HashSigner("carol's voting key").public),
    )
    first, second = (town.signed(founder, one, nonce=1 + at) for at, one in enumerate(approvals))
    result = town.block(first, second)
    assert result.next_set.epoch == 1
    assert [seat.power for seat in result.next_set.validators] == [5, 1, 1]


def test_two_candidates_of_one_block_cannot_share_a_voting_key() -> None:
    town = Town()
    founder = town.nodes[0]
    town.code(founder, AdmitObserver(BOB.node_id, None), AdmitObserver(CAROL.node_id, None))
    approvals = tuple(ApproveValidator(who.node_id, NEW_KEY.public) for who in (BOB, CAROL))
    assert town.code(founder, *approvals) == "voting_key_taken"
    assert town.ledger.validators.epoch == 0


def test_newcomers_of_one_block_stay_below_a_third_of_a_tolerant_set() -> None:
    town = Town((1, 1, 1, 1))
    town.code(town.nodes[0], AdmitObserver(BOB.node_id, None), AdmitObserver(CAROL.node_id, None))
    approvals = (
        ApproveValidator(BOB.node_id, NEW_KEY.public),
        ApproveValidator(CAROL.node_id, HashSigner("carol's voting key").public),
    )
    for node in town.nodes[:2]:
        assert town.code(node, *approvals) == "ok"
    last = town.nodes[2]
    first, second = (town.signed(last, one, nonce=at) for at, one in enumerate(approvals))
    result = town.block(first, second)
    assert [outcome.code.value for outcome in result.outcomes] == ["ok", "too_fast_growth"]
    assert len(result.next_set.validators) == 5
    assert town.code(last, approvals[1]) == "ok"
    assert town.ledger.validators.epoch == 1, "three of five are no quorum"
    assert town.code(town.nodes[3], approvals[1]) == "ok"
    assert town.ledger.validators.epoch == 2


# Roots, proofs and the database.


def busy_town() -> Town:
    town = admitted()
    founder = town.nodes[0]
    task = town.claimed(founder, BOB)
    town.code(BOB, town.completion(task, BOB))
    town.code(founder, ApproveValidator(BOB.node_id, NEW_KEY.public))
    town.code(founder, AdmitObserver(CAROL.node_id, b"\x07" * 32), town.submission())
    return town


def test_the_database_brings_back_the_same_ledger() -> None:
    town = busy_town()
    again = Ledger.load(town.genesis, town.database, HashVerifier())
    assert again.height == town.ledger.height
    assert again.state_root == town.ledger.state_root
    assert again.validators == town.ledger.validators
    assert again.tasks() == town.ledger.tasks()
    assert again.accounts() == town.ledger.accounts()
    again.check_invariants()
    block = town.next_block(town.signed(BOB, Transfer(CAROL.node_id, 1)))
    assert again.execute(block) == town.ledger.execute(block)


def test_a_damaged_or_foreign_database_is_refused() -> None:
    town = busy_town()
    with pytest.raises(LedgerError, match="no stored state"):
        Ledger.load(town.genesis, MemoryReader(), HashVerifier())
    other = found("other", 1, town.genesis.founders)
    with pytest.raises(LedgerError, match="another federation"):
        Ledger.load(other, town.database, HashVerifier())
    key = next(key for key in town.database.pairs if key.startswith(b"state/a"))
    for damage in (b"", b"\x92\x01", b"\x92\x01\xcc\x01"):
        damaged = MemoryReader((*town.database.pairs.items(), (key, damage)))
        with pytest.raises(LedgerError, match="damaged"):
            Ledger.load(town.genesis, damaged, HashVerifier())
    strange = MemoryReader((*town.database.pairs.items(), (b"state/?", b"")))
    with pytest.raises(LedgerError, match="unknown key"):
        Ledger.load(town.genesis, strange, HashVerifier())


def test_accounts_and_their_absence_are_proven_under_the_state_root() -> None:
    town = busy_town()
    ledger = town.ledger
    for owner in (BOB.node_id, b"\x01" * 32):
        key = ACCOUNTS.key(owner)
        assert check_proof(ledger.prove(key), key, ledger.value(key), ledger.state_root)
    assert ledger.value(ACCOUNTS.key(b"\x01" * 32)) is None
    assert ledger.value(ACCOUNTS.key(BOB.node_id)) == encode(ledger.account(BOB.node_id))


def test_every_outcome_stands_under_the_results_root() -> None:
    town = Town()
    founder = town.nodes[0]
    pay = Transfer(BOB.node_id, 400)
    result = town.block(*(town.signed(founder, pay, nonce=at) for at in range(3)))
    for index, outcome in enumerate(result.outcomes):
        raw = encode(outcome)
        assert path_leads_to(result.results.path(index), raw, result.results_root)
        assert decode_canonical(raw, Outcome) == outcome
    assert result.results.root == result.results_root


def test_equal_outcomes_with_other_writes_have_another_results_root() -> None:
    rich, poor = Town(), Town()
    one = rich.block(rich.signed(rich.nodes[0], Transfer(BOB.node_id, 1)))
    digest = Digest(b"\x01" * 32)
    assert msgspec.structs.replace(one.results, writes_digest=digest).root != one.results_root
    assert poor.block().results_root != one.results_root


@pytest.mark.parametrize("code", list(Code), ids=lambda code: code.value)
def test_every_code_has_a_sentence_and_odd_figures_do_no_harm(code: Code) -> None:
    assert Outcome(bytes(32), code, 0, ()).reason or code is Code.OK
    assert Outcome(bytes(32), code, 0, (1, 2, 3)).reason


def test_a_fresh_ledger_holds_the_supply_of_its_genesis() -> None:
    genesis: Genesis = Town((2, 1)).genesis
    ledger = Ledger(genesis, HashVerifier())
    ledger.check_invariants()
    assert sum(account.balance for _, account in ledger.accounts()) == genesis.parameters.supply
    assert [member.role for _, member in ledger.members()] == [Role.VALIDATOR] * 2


def test_a_remark_changes_nothing_but_its_senders_nonce() -> None:
    town = Town((1, 1))
    before = [town.balance(node) for node in town.nodes]
    assert town.code(town.nodes[0], Remark(b"for the bread")) == "ok"
    assert [town.balance(node) for node in town.nodes] == before
    assert town.nonce(town.nodes[0]) == 1
