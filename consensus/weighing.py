"""What the mempool must know of a transaction's operations: what they take, and whether others wait for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from consensus.operations.groups import AttestGroup, CommitResult, SubmitGroup
from consensus.operations.transactions import (
    AdmitObserver,
    ApproveValidator,
    CompleteTask,
    FailTask,
    Operation,
    Remark,
    SettleTask,
    SubmitTask,
    TransactionBody,
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
    Stake,
)

_URGENT = frozenset(
    (
        AdmitObserver,
        ApproveValidator,
        ActivateValidator,
        ApproveRemoval,
        ApproveExpulsion,
        ApproveParameter,
        ReportEquivocation,
        CommitResult,
        CompleteTask,
        SettleTask,
        FailTask,
    )
)
"""Without these others wait: somebody to be let in, a liar to be punished, a reward in escrow."""

_SPENDERS: dict[type[Operation], Callable[[Any], int]] = {
    SubmitTask: lambda operation: operation.reward,
    SubmitGroup: lambda operation: operation.reward * operation.redundancy,
    Stake: lambda operation: operation.amount,
    Delegate: lambda operation: operation.amount,
    RegisterValidator: lambda operation: operation.stake,
}
"""What an operation takes from its sender's balance."""

_EARNERS = frozenset((CompleteTask, SettleTask, FailTask, AttestGroup, LeaveValidators))
"""What may add to it."""


def weighed(body: TransactionBody) -> tuple[int, bool]:
    """What a transaction takes from its sender's balance at least, and whether it is urgent.

    It takes nothing if it may earn as well. By type and not by pattern: this is asked of every transaction.
    """
    spending, may_earn, is_urgent = 0, False, False
    for operation in body.operations:
        if isinstance(operation, Transfer):
            if operation.to != body.sender:
                spending += operation.amount
        elif not isinstance(operation, Remark):
            kind = type(operation)
            spender = _SPENDERS.get(kind)
            if spender is not None:
                spending += spender(operation)
            may_earn = may_earn or kind in _EARNERS
            is_urgent = is_urgent or kind in _URGENT
    return 0 if may_earn else spending, is_urgent
