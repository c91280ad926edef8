"""Several nodes do the same task, and the ledger pays those who agree.

Each member of a group is a task of its own: claimed, worked on and handed over like any other. What differs is its end:

    QUEUED -> ASSIGNED -> COMMITTED -> REVEALED -> SETTLED, or FAILED
                 |            |            |
         a claim like any   only its    receipt and result are open; the group decides when every member
         other              hash        has revealed or ended

Nobody reveals before all have committed, or the deadline is over, so nobody can copy another's result: a commitment
is the hash of a signed receipt with a nonce in it. Under `EQUAL` the largest class of equal result hashes is paid if it
has `agreement` members; `agreement` is more than half, so there is one at most. Under `ATTESTED` the asker names those
that are alike; if it says nothing for `reveal_ms`, all who revealed are paid. Without agreement nobody is: the verdict
is inconclusive, the rewards return, nobody is blamed.

An asker can choose friends who lie together, and pays for it. So only where the ledger drew the executors does a
verdict touch their reputation, and `MISMATCHES_PUNISHED` of them in a row cost stake.
"""

from __future__ import annotations

from collections import Counter
from typing import assert_never

import msgspec

from consensus.ledger.accounts import credit, debit
from consensus.ledger.events import TaskChanged, TaskGroupChanged
from consensus.ledger.outcomes import Code, Refusal
from consensus.ledger.records import Offering, Task, TaskGroup, TaskState, Verdict
from consensus.ledger.standing import agreed, contradicted
from consensus.ledger.state import Context, Draft
from consensus.ledger.tables import GROUPS, MEMBERS, OFFERINGS, TASKS
from consensus.operations.groups import (
    AgreementRule,
    AttestGroup,
    CommitResult,
    GroupOperation,
    OfferKinds,
    SubmitGroup,
    member_id,
    result_commitment,
)
from consensus.operations.transactions import CompleteTask, FailTask, task_id
from consensus.operations.validators import MAX_AMOUNT
from gossip.codec import Digest, digest, encode

_AT_WORK = (TaskState.QUEUED, TaskState.ASSIGNED)


def apply_to_group(
    draft: Draft, context: Context, operation: GroupOperation, index: int
) -> Refusal | None:
    """One operation on groups; `index` is its place in its transaction."""
    match operation:
        case SubmitGroup():
            return submit_group(draft, context, operation, index)
        case CommitResult():
            return commit_result(draft, context, operation)
        case AttestGroup():
            return attest(draft, context, operation)
        case OfferKinds():
            return offer_kinds(draft, context, operation)
        case _:
            assert_never(operation)


def offer_kinds(draft: Draft, context: Context, operation: OfferKinds) -> Refusal | None:
    """Write down what a member may be given."""
    if draft.get(MEMBERS, context.sender) is None:
        return Refusal(Code.NOT_MEMBER)
    kinds = tuple(sorted(set(operation.kinds)))
    draft.put(OFFERINGS, context.sender, Offering(kinds) if kinds else None)
    return None


def submit_group(
    draft: Draft, context: Context, operation: SubmitGroup, index: int
) -> Refusal | None:
    """Queue one task for each executor and put all rewards into escrow."""
    group = task_id(Digest(context.tx), index)
    refusal = _unfit(draft, context, operation)
    if refusal is not None:
        return refusal
    executors = operation.executors or drawn(draft, context, operation, group)
    if len(executors) < operation.redundancy:
        return Refusal(Code.TOO_FEW_EXECUTORS, (len(executors), operation.redundancy))
    refusal = _escrow(draft, context, operation.reward * operation.redundancy)
    if refusal is not None:
        return refusal
    names = tuple(member_id(group, place) for place in range(operation.redundancy))
    for name, executor in zip(names, executors, strict=True):
        task = Task(
            submitter=context.sender,
            kind=operation.kind,
            input_hash=operation.input_hash,
            reward=operation.reward,
            reserved_for=executor,
            deadline_ms=operation.deadline_ms,
            submit_tx=context.tx,
            submit_height=context.height,
            group=group,
        )
        _put_task(draft, context, name, task)
    whole = TaskGroup(
        submitter=context.sender,
        tasks=names,
        agreement=operation.agreement,
        rule=operation.rule,
        is_drawn=not operation.executors,
        deadline_ms=operation.deadline_ms,
    )
    _put_group(draft, context, group, whole)
    return None


def _escrow(draft: Draft, context: Context, cost: int) -> Refusal | None:
    """Take all rewards; more than there is on earth is refused here, for no figure may be that large."""
    if cost > context.genesis.parameters.supply:
        return Refusal(Code.OVERDRAFT, (0, min(cost, MAX_AMOUNT)))
    return debit(draft, context.sender, cost)


def _unfit(draft: Draft, context: Context, operation: SubmitGroup) -> Refusal | None:
    parameters = context.parameters
    earliest = context.time_ms + parameters.min_task_lead_ms
    latest = context.time_ms + parameters.max_task_lead_ms
    named = operation.executors
    if draft.get(MEMBERS, context.sender) is None:
        return Refusal(Code.NOT_MEMBER)
    if operation.reward < parameters.min_task_reward:
        return Refusal(Code.REWARD_TOO_SMALL, (operation.reward, parameters.min_task_reward))
    if not earliest <= operation.deadline_ms <= latest:
        return Refusal(Code.DEADLINE_OUT_OF_RANGE, (operation.deadline_ms, earliest, latest))
    if not operation.redundancy < 2 * operation.agreement <= 2 * operation.redundancy:
        return Refusal(Code.NO_MAJORITY, (operation.agreement, operation.redundancy))
    if named and len(set(named)) != operation.redundancy:
        return Refusal(Code.TOO_FEW_EXECUTORS, (len(set(named)), operation.redundancy))
    if any(draft.get(MEMBERS, one) is None for one in named):
        return Refusal(Code.EXECUTOR_NOT_MEMBER)
    return None


def drawn(
    draft: Draft, context: Context, operation: SubmitGroup, group: Digest
) -> tuple[bytes, ...]:
    """The members that the ledger gives the work to: those with the lowest hashes of (parent block, group, node).

    The parent's hash is not known to who signs the request, so nobody can try requests until friends are drawn.
    """
    seed = context.parent + group
    fitting = [
        node
        for node, offering in draft.items(OFFERINGS)
        if operation.kind in offering.kinds and node != context.sender
    ]
    return tuple(sorted(fitting, key=lambda node: digest(b"draw", seed + node)))[
        : operation.redundancy
    ]


def commit_result(draft: Draft, context: Context, operation: CommitResult) -> Refusal | None:
    """The executor fixes its result."""
    task = draft.get(TASKS, operation.task)
    if task is None:
        return Refusal(Code.UNKNOWN_TASK)
    if task.group is None:
        return Refusal(Code.NOT_IN_GROUP)
    if task.state is not TaskState.ASSIGNED:
        return Refusal(Code.TASK_NOT_ASSIGNED)
    if task.executor != context.sender:
        return Refusal(Code.NOT_EXECUTOR)
    if context.time_ms >= task.deadline_ms:
        return Refusal(Code.TOO_LATE, (task.deadline_ms, context.time_ms))
    committed = msgspec.structs.replace(
        task, state=TaskState.COMMITTED, commitment=operation.commitment
    )
    _put_task(draft, context, operation.task, committed)
    return None


def reveal(draft: Draft, context: Context, operation: CompleteTask, task: Task) -> Refusal | None:
    """The executor opens what it committed to; the receipt itself has been checked."""
    name = operation.signed.receipt.task
    if task.state is not TaskState.COMMITTED:
        return Refusal(Code.TASK_NOT_COMMITTED)
    if result_commitment(encode(operation.signed)) != task.commitment:
        return Refusal(Code.COMMITMENT_MISMATCH)
    until_ms = task.deadline_ms + context.parameters.reveal_ms
    if context.time_ms >= until_ms:
        return Refusal(Code.TOO_LATE, (until_ms, context.time_ms))
    if not may_reveal(draft, context.time_ms, task):
        return Refusal(Code.OTHERS_AT_WORK, (task.deadline_ms,))
    revealed = msgspec.structs.replace(task, state=TaskState.REVEALED, receipt=operation.signed)
    _put_task(draft, context, name, revealed)
    _decide(draft, context, task)
    return None


def may_reveal(draft: Draft, time_ms: int, task: Task) -> bool:
    """Whether no other member can still commit."""
    return time_ms >= task.deadline_ms or all(
        one.state not in _AT_WORK for _, one in _members(draft, task)
    )


def end_member(draft: Draft, context: Context, operation: FailTask, task: Task) -> Refusal | None:
    """An executor gives up, or somebody's time is over: its asker and the other executors may say so."""
    due_ms = task.deadline_ms
    members = [one for _, one in _members(draft, task)]
    parties = {task.submitter, *(one.executor for one in members)}
    is_own = context.sender == task.executor and task.state is TaskState.ASSIGNED
    may_withdraw = context.sender == task.submitter and task.state is TaskState.QUEUED
    if context.sender not in parties:
        return Refusal(Code.NOT_PARTY)
    if task.state is TaskState.COMMITTED:
        due_ms += context.parameters.reveal_ms
    elif task.state is TaskState.REVEALED:
        due_ms += 2 * context.parameters.reveal_ms
    if not (is_own or may_withdraw) and context.time_ms < due_ms:
        return Refusal(Code.TASK_NOT_OVERDUE, (due_ms, context.time_ms))
    if task.state is TaskState.REVEALED:
        return _by_silence(draft, context, task)
    end = TaskState.CANCELLED if may_withdraw else TaskState.FAILED
    _end(draft, context, (operation.task, task), end, operation.reason)
    _decide(draft, context, task)
    return None


def attest(draft: Draft, context: Context, operation: AttestGroup) -> Refusal | None:
    """The asker names the results that are alike."""
    whole = draft.get(GROUPS, operation.group)
    if whole is None:
        return Refusal(Code.UNKNOWN_TASK)
    if whole.submitter != context.sender:
        return Refusal(Code.NOT_PARTY)
    if whole.rule is not AgreementRule.ATTESTED or whole.verdict is not Verdict.OPEN:
        return Refusal(Code.NOT_TO_ATTEST)
    named = set(operation.tasks)
    tasks = _tasks_of(draft, whole)
    if any(one.is_open and one.state is not TaskState.REVEALED for one in tasks.values()):
        return Refusal(Code.OTHERS_AT_WORK, (whole.deadline_ms,))
    revealed = {name for name, one in tasks.items() if one.state is TaskState.REVEALED}
    if not named <= revealed or len(named) < whole.agreement:
        return Refusal(Code.NO_MAJORITY, (len(named & revealed), len(whole.tasks)))
    _close(draft, context, operation.group, named)
    return None


def _by_silence(draft: Draft, context: Context, task: Task) -> Refusal | None:
    """The asker of an attested group said nothing: everybody who revealed is paid."""
    assert task.group is not None
    whole = draft.get(GROUPS, task.group)
    assert whole is not None
    tasks = _tasks_of(draft, whole)
    if any(one.is_open and one.state is not TaskState.REVEALED for one in tasks.values()):
        return Refusal(Code.OTHERS_AT_WORK, (whole.deadline_ms,))
    _close(draft, context, task.group, {name for name, one in tasks.items() if one.is_open})
    return None


def _decide(draft: Draft, context: Context, member: Task) -> None:
    """Find who agreed, once every member has revealed or ended."""
    assert member.group is not None
    whole = draft.get(GROUPS, member.group)
    assert whole is not None
    tasks = _tasks_of(draft, whole)
    if any(one.is_open and one.state is not TaskState.REVEALED for one in tasks.values()):
        return
    revealed = {name: one.output_hash for name, one in tasks.items() if one.is_open}
    if whole.rule is AgreementRule.ATTESTED and len(revealed) >= whole.agreement:
        return
    largest = Counter(revealed.values()).most_common(1)
    winner = largest[0][0] if largest and largest[0][1] >= whole.agreement else None
    _close(
        draft,
        context,
        member.group,
        {name for name, output in revealed.items() if winner is not None and output == winner},
    )


def _close(draft: Draft, context: Context, group: bytes, paid: set[bytes]) -> None:
    """Pay these members, give the other rewards back; none paid means that nothing was found out."""
    whole = draft.get(GROUPS, group)
    assert whole is not None
    is_settled = bool(paid)
    for name, task in _tasks_of(draft, whole).items():
        if not task.is_open:
            continue
        assert task.executor is not None
        if name in paid:
            credit(draft, task.executor, task.reward)
            _put_task(draft, context, name, msgspec.structs.replace(task, state=TaskState.SETTLED))
        else:
            reason = "the others agreed on another result" if is_settled else "no agreement"
            _end(draft, context, (name, task), TaskState.FAILED, reason)
        if is_settled and whole.is_drawn and whole.rule is AgreementRule.EQUAL:
            note = agreed if name in paid else contradicted
            note(draft, context, task.executor)
    verdict = Verdict.AGREED if is_settled else Verdict.INCONCLUSIVE
    _put_group(draft, context, group, msgspec.structs.replace(whole, verdict=verdict))


def _end(
    draft: Draft, context: Context, named: tuple[bytes, Task], end: TaskState, reason: str
) -> None:
    name, task = named
    credit(draft, task.submitter, task.reward)
    _put_task(draft, context, name, msgspec.structs.replace(task, state=end, reason=reason))


def _members(draft: Draft, task: Task) -> list[tuple[bytes, Task]]:
    assert task.group is not None
    whole = draft.get(GROUPS, task.group)
    assert whole is not None
    return list(_tasks_of(draft, whole).items())


def _tasks_of(draft: Draft, whole: TaskGroup) -> dict[bytes, Task]:
    found: dict[bytes, Task] = {}
    for name in whole.tasks:
        task = draft.get(TASKS, name)
        assert task is not None
        found[name] = task
    return found


def _put_task(draft: Draft, context: Context, name: bytes, task: Task) -> None:
    draft.put(TASKS, name, task)
    draft.emit(TaskChanged(name, task, context.tx))


def _put_group(draft: Draft, context: Context, name: bytes, group: TaskGroup) -> None:
    draft.put(GROUPS, name, group)
    draft.emit(TaskGroupChanged(name, group, context.tx))
