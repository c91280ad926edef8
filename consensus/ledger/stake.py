"""Money that is at risk for a node's votes: its own, what others delegate to it, and what is on its way back.

All of it stands in the node's `StakeRecord`; nothing here is in anybody's account. Taking back takes `unbonding_ms` of
block time, so that whoever votes twice and leaves can still be punished.
"""

from __future__ import annotations

import msgspec

from consensus.ledger.accounts import credit, debit
from consensus.ledger.events import StakeChanged, StakeReleased, StakeReserved, StakeUnbonding
from consensus.ledger.outcomes import Code, Refusal
from consensus.ledger.records import (
    MAX_BACKERS,
    MAX_UNBONDINGS,
    Delegation,
    Role,
    StakeRecord,
    Unbonding,
)
from consensus.ledger.state import Context, Draft
from consensus.ledger.tables import MEMBERS, REGISTRATIONS, STAKES
from consensus.operations.validators import MAX_AMOUNT, Delegate, Stake, Undelegate, Unstake


def record_of(draft: Draft, node: bytes) -> StakeRecord:
    """What is at risk for a node, which may be nothing."""
    return draft.get(STAKES, node) or StakeRecord()


def put_record(draft: Draft, node: bytes, record: StakeRecord) -> None:
    """Keep a record, or forget it if nothing is in it and the node neither votes nor wants to."""
    member = draft.get(MEMBERS, node)
    is_seated = member is not None and member.role is Role.VALIDATOR
    needed = record.total or is_seated or draft.get(REGISTRATIONS, node) is not None
    kept = record if needed else None
    draft.put(STAKES, node, kept)
    draft.emit(StakeChanged(node, kept))


def add_stake(draft: Draft, context: Context, operation: Stake) -> Refusal | None:
    """A validator or candidate binds more of its own."""
    record = draft.get(STAKES, context.sender)
    if record is None or not _votes_or_wants_to(draft, context.sender):
        return Refusal(Code.NOT_REGISTERED)
    return reserve(draft, context, context.sender, operation.amount)


def reserve(draft: Draft, context: Context, node: bytes, amount: int) -> Refusal | None:
    """Move a node's own money from its account to its stake."""
    refusal = debit(draft, node, amount)
    if refusal is not None:
        return refusal
    record = record_of(draft, node)
    if amount:
        draft.emit(StakeReserved(node, node, amount, context.tx))
    put_record(draft, node, msgspec.structs.replace(record, own=record.own + amount))
    return None


def take_back(draft: Draft, context: Context, operation: Unstake) -> Refusal | None:
    """A validator or candidate takes some of its own back, not below the least stake."""
    record, least = record_of(draft, context.sender), context.parameters.min_stake
    if not _votes_or_wants_to(draft, context.sender):
        return Refusal(Code.NOT_REGISTERED)
    if operation.amount > record.own:
        return Refusal(Code.STAKE_TOO_LARGE, (record.own, operation.amount))
    if record.own - operation.amount < least:
        return Refusal(Code.STAKE_TOO_SMALL, (record.own - operation.amount, least))
    left = msgspec.structs.replace(record, own=record.own - operation.amount)
    left = _unbond(draft, context, (context.sender, left), context.sender, operation.amount)
    put_record(draft, context.sender, left)
    return None


def delegate(draft: Draft, context: Context, operation: Delegate) -> Refusal | None:
    """Bind the sender's money to a validator."""
    node, record = operation.validator, record_of(draft, operation.validator)
    member = draft.get(MEMBERS, node)
    if member is None or member.role is not Role.VALIDATOR:
        return Refusal(Code.UNKNOWN_VALIDATOR)
    if record.condemned:
        return Refusal(Code.CONDEMNED)
    people = {one.delegator for one in record.delegations}
    people.update(one.owner for one in record.unbonding if one.owner != node)
    if context.sender not in people and len(people) >= MAX_BACKERS:
        return Refusal(Code.TOO_MANY_BACKERS, (MAX_BACKERS,))
    refusal = debit(draft, context.sender, operation.amount)
    if refusal is not None:
        return refusal
    held = _delegations(record)
    held[context.sender] = held.get(context.sender, 0) + operation.amount
    draft.emit(StakeReserved(node, context.sender, operation.amount, context.tx))
    put_record(draft, node, _with_delegations(record, held))
    return None


def undelegate(draft: Draft, context: Context, operation: Undelegate) -> Refusal | None:
    """Take some of a delegation back."""
    record = record_of(draft, operation.validator)
    held = _delegations(record)
    bound = held.get(context.sender, 0)
    if operation.amount > bound:
        return Refusal(Code.STAKE_TOO_LARGE, (bound, operation.amount))
    held[context.sender] = bound - operation.amount
    left = _with_delegations(record, held)
    left = _unbond(draft, context, (operation.validator, left), context.sender, operation.amount)
    put_record(draft, operation.validator, left)
    return None


def unbond_all(draft: Draft, context: Context, node: bytes) -> None:
    """The node gave up or lost its seat: everything goes back, after the lock."""
    record = record_of(draft, node)
    left = msgspec.structs.replace(record, own=0, delegations=(), condemned=False)
    owed = [(node, record.own), *_delegations(record).items()]
    for owner, amount in owed:
        left = _unbond(draft, context, (node, left), owner, amount)
    put_record(draft, node, left)


def release_own(draft: Draft, context: Context, node: bytes) -> None:
    """A candidate that never voted gets its stake back at once."""
    record = record_of(draft, node)
    credit(draft, node, record.own)
    if record.own:
        draft.emit(StakeReleased(node, node, record.own, context.transaction))
    put_record(draft, node, msgspec.structs.replace(record, own=0))


def release_due(draft: Draft, context: Context) -> None:
    """Give back what has been locked long enough."""
    for node, record in draft.those(STAKES, lambda one: one.unbonding):
        due = [one for one in record.unbonding if one.release_ms <= context.time_ms]
        if not due:
            continue
        for one in due:
            credit(draft, one.owner, one.amount)
            draft.emit(StakeReleased(node, one.owner, one.amount, None))
        waiting = tuple(one for one in record.unbonding if one.release_ms > context.time_ms)
        put_record(draft, node, msgspec.structs.replace(record, unbonding=waiting))


def slash(draft: Draft, context: Context, node: bytes) -> int:
    """Take the slash percentage of everything at risk for the treasury, and condemn the seat; what was taken."""
    taken = take_percent(draft, context, node)
    member = draft.get(MEMBERS, node)
    is_seated = member is not None and member.role is Role.VALIDATOR
    put_record(draft, node, msgspec.structs.replace(record_of(draft, node), condemned=is_seated))
    return taken


def take_percent(draft: Draft, context: Context, node: bytes) -> int:
    """Take the slash percentage of everything at risk for the treasury; what was taken."""
    record, percent = record_of(draft, node), context.parameters.slash_percent
    own = record.own - record.own * percent // 100
    delegations = {
        one.delegator: one.amount - one.amount * percent // 100 for one in record.delegations
    }
    unbonding = tuple(
        msgspec.structs.replace(one, amount=one.amount - one.amount * percent // 100)
        for one in record.unbonding
    )
    left = _with_delegations(
        msgspec.structs.replace(record, own=own, unbonding=unbonding), delegations
    )
    taken = record.total - left.total
    if taken:
        credit(draft, context.genesis.treasury, taken)
        put_record(draft, node, left)
    return taken


def _votes_or_wants_to(draft: Draft, node: bytes) -> bool:
    member = draft.get(MEMBERS, node)
    is_seated = member is not None and member.role is Role.VALIDATOR
    return is_seated or draft.get(REGISTRATIONS, node) is not None


def _delegations(record: StakeRecord) -> dict[bytes, int]:
    return {one.delegator: one.amount for one in record.delegations}


def _with_delegations(record: StakeRecord, held: dict[bytes, int]) -> StakeRecord:
    kept = tuple(Delegation(owner, amount) for owner, amount in sorted(held.items()) if amount)
    return msgspec.structs.replace(record, delegations=kept)


def _unbond(
    draft: Draft, context: Context, at: tuple[bytes, StakeRecord], owner: bytes, amount: int
) -> StakeRecord:
    """The record with `amount` on its way back; the last of an owner's amounts takes in what would be one too many."""
    node, record = at
    if not amount:
        return record
    release_ms = min(context.time_ms + context.parameters.unbonding_ms, MAX_AMOUNT)
    own = [one for one in record.unbonding if one.owner == owner]
    others = [one for one in record.unbonding if one.owner != owner]
    if len(own) == MAX_UNBONDINGS or (own and own[-1].release_ms >= release_ms):
        last = own.pop()
        release_ms, together = max(release_ms, last.release_ms), amount + last.amount
    else:
        together = amount
    own.append(Unbonding(owner, together, release_ms))
    draft.emit(StakeUnbonding(node, owner, amount, release_ms, context.transaction))
    waiting = sorted([*others, *own], key=lambda one: (one.owner, one.release_ms))
    return msgspec.structs.replace(record, unbonding=tuple(waiting))
