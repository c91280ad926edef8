"""The life of a task: queued, assigned, then settled, failed or cancelled.

Its reward waits in escrow until the end.
"""

from __future__ import annotations

import msgspec

from consensus.ledger.accounts import credit, debit
from consensus.ledger.events import TaskChanged
from consensus.ledger.outcomes import Code, Refusal
from consensus.ledger.records import Task, TaskState
from consensus.ledger.state import Context, Draft
from consensus.ledger.tables import MEMBERS, TASKS
from consensus.ledger.task_groups import end_member, reveal
from consensus.operations.transactions import (
    ClaimTask,
    CompleteTask,
    FailTask,
    SettleTask,
    SubmitTask,
    TaskReceipt,
    task_id,
)
from gossip.codec import Digest


def submit_task(
    draft: Draft, context: Context, operation: SubmitTask, index: int
) -> Refusal | None:
    """Queue a task and put its reward into escrow.

    `index` is the operation's place in its transaction.
    """
    parameters = context.parameters
    earliest = context.time_ms + parameters.min_task_lead_ms
    latest = context.time_ms + parameters.max_task_lead_ms
    if draft.get(MEMBERS, context.sender) is None:
        return Refusal(Code.NOT_MEMBER)
    if operation.reward < parameters.min_task_reward:
        return Refusal(Code.REWARD_TOO_SMALL, (operation.reward, parameters.min_task_reward))
    if not earliest <= operation.deadline_ms <= latest:
        return Refusal(Code.DEADLINE_OUT_OF_RANGE, (operation.deadline_ms, earliest, latest))
    if operation.executor is not None and draft.get(MEMBERS, operation.executor) is None:
        return Refusal(Code.EXECUTOR_NOT_MEMBER)
    refusal = debit(draft, context.sender, operation.reward)
    if refusal is not None:
        return refusal
    task = Task(
        submitter=context.sender,
        kind=operation.kind,
        input_hash=operation.input_hash,
        reward=operation.reward,
        reserved_for=operation.executor,
        deadline_ms=operation.deadline_ms,
        submit_tx=context.tx,
        submit_height=context.height,
    )
    _put(draft, context, task_id(Digest(context.tx), index), task)
    return None


def claim_task(draft: Draft, context: Context, operation: ClaimTask) -> Refusal | None:
    """The sender takes a queued task upon itself."""
    task = draft.get(TASKS, operation.task)
    if draft.get(MEMBERS, context.sender) is None:
        return Refusal(Code.NOT_MEMBER)
    if task is None:
        return Refusal(Code.UNKNOWN_TASK)
    if task.state is not TaskState.QUEUED:
        return Refusal(Code.TASK_NOT_QUEUED)
    if task.reserved_for not in (None, context.sender):
        return Refusal(Code.TASK_RESERVED)
    claimed = msgspec.structs.replace(task, state=TaskState.ASSIGNED, executor=context.sender)
    _put(draft, context, operation.task, claimed)
    return None


def complete_task(draft: Draft, context: Context, operation: CompleteTask) -> Refusal | None:
    """The executor hands in its signed receipt and is paid.

    Late is allowed, until the asker has taken the reward back.
    """
    receipt = operation.signed.receipt
    task = draft.get(TASKS, receipt.task)
    if task is None:
        return Refusal(Code.UNKNOWN_TASK)
    if task.group is None and task.state is not TaskState.ASSIGNED:
        return Refusal(Code.TASK_NOT_ASSIGNED)
    if task.executor != context.sender:
        return Refusal(Code.NOT_EXECUTOR)
    if not _matches(receipt, task, context.genesis.federation_id):
        return Refusal(Code.RECEIPT_MISMATCH)
    if not operation.signed.is_signed(context.verifier):
        return Refusal(Code.RECEIPT_UNSIGNED)
    if task.group is not None:
        return reveal(draft, context, operation, task)
    settled = msgspec.structs.replace(task, state=TaskState.SETTLED, receipt=operation.signed)
    credit(draft, context.sender, task.reward)
    _put(draft, context, receipt.task, settled)
    return None


def settle_task(draft: Draft, context: Context, operation: SettleTask) -> Refusal | None:
    """As `complete_task`, with the word of both."""
    if not operation.signed.is_countersigned(context.verifier, operation.countersignature):
        return Refusal(Code.NOT_COUNTERSIGNED)
    return complete_task(draft, context, operation)


def fail_task(draft: Draft, context: Context, operation: FailTask) -> Refusal | None:
    """The executor gives up, or the asker takes back what nobody claimed or finished in time."""
    task = draft.get(TASKS, operation.task)
    if task is None:
        return Refusal(Code.UNKNOWN_TASK)
    if not task.is_open and context.sender in (task.submitter, task.executor):
        return Refusal(Code.TASK_NOT_ASSIGNED)
    if task.group is not None and task.is_open:
        return end_member(draft, context, operation, task)
    if context.sender not in (task.submitter, task.executor):
        return Refusal(Code.NOT_PARTY)
    gives_up = context.sender == task.executor
    if task.state is TaskState.ASSIGNED and not gives_up and context.time_ms < task.deadline_ms:
        return Refusal(Code.TASK_NOT_OVERDUE, (task.deadline_ms, context.time_ms))
    end = TaskState.CANCELLED if task.state is TaskState.QUEUED else TaskState.FAILED
    credit(draft, task.submitter, task.reward)
    _put(
        draft,
        context,
        operation.task,
        msgspec.structs.replace(task, state=end, reason=operation.reason),
    )
    return None


def _matches(receipt: TaskReceipt, task: Task, chain: bytes) -> bool:
    return (receipt.chain, receipt.kind, receipt.input_hash, receipt.asker, receipt.executor) == (
        chain,
        task.kind,
        task.input_hash,
        task.submitter,
        task.executor,
    )


def _put(draft: Draft, context: Context, name: bytes, task: Task) -> None:
    draft.put(TASKS, name, task)
    draft.emit(TaskChanged(name, task, context.tx))
