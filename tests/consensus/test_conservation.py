"""A rule that makes or loses money stops the node before anything of it is the state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from consensus.ledger.accounts import credit, debit
from consensus.ledger.conservation import money_made
from consensus.ledger.outcomes import Refusal
from consensus.ledger.records import Account
from consensus.ledger.state import Context, Draft, State
from consensus.ledger.tables import ACCOUNTS, MEMBERS
from consensus.operations.transactions import ClaimTask, Transfer
from consensus.operations.validators import Delegate
from tests.consensus.world import HashSigner, Town

BOB = HashSigner("bob")
Rule = Callable[[Draft, Context, Transfer], Refusal | None]


def too_much(draft: Draft, context: Context, operation: Transfer) -> Refusal | None:
    refusal = debit(draft, context.sender, operation.amount)
    credit(draft, operation.to, operation.amount + 1)
    return refusal


def too_little(draft: Draft, context: Context, operation: Transfer) -> Refusal | None:
    return debit(draft, context.sender, operation.amount)


def overdrawn(draft: Draft, context: Context, operation: Transfer) -> Refusal | None:
    known = draft.get(ACCOUNTS, context.sender)
    assert known is not None
    amount = known.balance + 5
    draft.put(ACCOUNTS, context.sender, Account(-5, known.nonce))
    credit(draft, operation.to, amount)
    return None


@pytest.mark.parametrize(
    ("rule", "told"),
    [(too_much, "made or lost"), (too_little, "made or lost"), (overdrawn, "overdrawn")],
)
def test_a_wrong_rule_never_becomes_the_state(
    rule: Rule, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = Town()
    root, payer = town.ledger.state_root, town.nodes[0]
    paid = town.signed(payer, Transfer(BOB.node_id, 7))
    with monkeypatch.context() as patch:
        patch.setattr("consensus.ledger.applying.transfer", rule)
        with pytest.raises(AssertionError, match=told):
            town.block(paid)
    assert (town.ledger.state_root, town.ledger.height) == (root, 0)
    town.ledger.check_invariants()


def test_money_in_escrow_and_at_stake_is_counted() -> None:
    """Each of these moves money out of an account; the sum of all three stays."""
    town = Town((1, 1, 1, 1))
    payer, other = town.nodes[:2]
    town.block(town.signed(payer, town.submission(reward=40)))
    ((name, task),) = town.ledger.tasks()
    assert (task.reward, task.is_open) == (40, True)
    assert town.code(payer, Delegate(other.node_id, 30)) == "ok"
    assert town.code(other, ClaimTask(name)) == "ok"
    assert town.code(other, town.completion(name, other)) == "ok"
    town.ledger.check_invariants()


def test_a_deleted_account_is_money_lost_and_other_records_are_none() -> None:
    state = State()
    state.put(ACCOUNTS.key(BOB.node_id), Account(9, 0))
    assert money_made(state, {ACCOUNTS.key(BOB.node_id): None}) == -9
    assert money_made(state, {ACCOUNTS.key(b"x" * 32): Account(4, 0)}) == 4
    assert money_made(state, {MEMBERS.key(BOB.node_id): None}) == 0
