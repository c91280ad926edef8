"""Which rule an operation goes by: the one table between what transactions ask and what the ledger does."""

from __future__ import annotations

from typing import assert_never

from consensus.ledger.accounts import transfer
from consensus.ledger.admission import admit_observer, approve_validator
from consensus.ledger.amendments import approve_parameter
from consensus.ledger.outcomes import Refusal
from consensus.ledger.registry import (
    activate,
    approve_expulsion,
    approve_removal,
    leave,
    register,
    report,
    rotate_key,
)
from consensus.ledger.stake import add_stake, delegate, take_back, undelegate
from consensus.ledger.state import Context, Draft
from consensus.ledger.task_groups import apply_to_group
from consensus.ledger.tasks import claim_task, complete_task, fail_task, settle_task, submit_task
from consensus.operations.groups import AttestGroup, CommitResult, OfferKinds, SubmitGroup
from consensus.operations.transactions import (
    AdmitObserver,
    ApproveValidator,
    ClaimTask,
    CompleteTask,
    FailTask,
    Operation,
    Remark,
    SettleTask,
    SubmitTask,
    Transfer,
)
from consensus.operations.validators import (
    ActivateValidator,
    ApproveExpulsion,
    ApproveParameter,
    ApproveRemoval,
    Delegate,
    LeaveValidators,
    RegisterValidator,
    ReportEquivocation,
    RotateVotingKey,
    Stake,
    Undelegate,
    Unstake,
    ValidatorOperation,
    ValidatorWord,
)


def applied(draft: Draft, context: Context, operation: Operation, index: int) -> Refusal | None:
    """Do what the operation at this place of its transaction asks; why not, if its rule refuses it."""
    match operation:
        case Transfer():
            return transfer(draft, context, operation)
        case Remark():
            return None
        case SubmitTask():
            return submit_task(draft, context, operation, index)
        case ClaimTask():
            return claim_task(draft, context, operation)
        case SettleTask():
            return settle_task(draft, context, operation)
        case CompleteTask():
            return complete_task(draft, context, operation)
        case FailTask():
            return fail_task(draft, context, operation)
        case AdmitObserver():
            return admit_observer(draft, context, operation)
        case ApproveValidator():
            return approve_validator(draft, context, operation)
        case SubmitGroup() | CommitResult() | AttestGroup() | OfferKinds():
            return apply_to_group(draft, context, operation, index)
        case _:
            return _apply_to_registry(draft, context, operation)


def _apply_to_registry(
    draft: Draft, context: Context, operation: ValidatorOperation
) -> Refusal | None:
    match operation:
        case Stake():
            return add_stake(draft, context, operation)
        case Unstake():
            return take_back(draft, context, operation)
        case Delegate():
            return delegate(draft, context, operation)
        case Undelegate():
            return undelegate(draft, context, operation)
        case RegisterValidator():
            return register(draft, context, operation)
        case ActivateValidator():
            return activate(draft, context, operation)
        case LeaveValidators():
            return leave(draft, context, operation)
        case RotateVotingKey():
            return rotate_key(draft, context, operation)
        case ReportEquivocation():
            return report(draft, context, operation)
        case _:
            return _apply_word(draft, context, operation)


def _apply_word(draft: Draft, context: Context, operation: ValidatorWord) -> Refusal | None:
    match operation:
        case ApproveRemoval():
            return approve_removal(draft, context, operation)
        case ApproveExpulsion():
            return approve_expulsion(draft, context, operation)
        case ApproveParameter():
            return approve_parameter(draft, context, operation)
        case _:
            assert_never(operation)
