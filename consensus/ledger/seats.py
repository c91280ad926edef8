"""Who will sit in the set of validators after this block, and how much each will weigh.

Within a block `VALIDATORS` holds the coming set: the present one, or one of the next epoch once something has changed.
Every change is judged against the set that votes on the block, so all changes of a block make one boundary.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import msgspec

from consensus.ledger.events import MemberChanged, ValidatorActivated
from consensus.ledger.outcomes import Code, Refusal
from consensus.ledger.records import KeyRecord, Member, Role, StakeRecord
from consensus.ledger.state import Context, Draft
from consensus.ledger.tables import (
    CANDIDATES,
    KEYS,
    MEMBERS,
    OFFERINGS,
    STAKES,
    THE_ONE,
    VALIDATORS,
    WORDS,
)
from consensus.quorum import (
    LEAST_TOLERANT,
    MAX_VALIDATORS,
    SetFault,
    ValidatorSet,
    change_fault,
    next_set,
    stake_powers,
)
from gossip.identity import NodeId, PublicKey

Seats = tuple[tuple[NodeId, PublicKey], ...]

_CODES = {
    SetFault.TOO_SMALL: Code.SET_TOO_SMALL,
    SetFault.TOO_MANY: Code.TOO_MANY_VALIDATORS,
    SetFault.TOO_FAST: Code.TOO_FAST_GROWTH,
}


def coming_set(draft: Draft, context: Context) -> ValidatorSet:
    """The set that will vote after the block, as far as it is known."""
    return draft.get(VALIDATORS, THE_ONE) or context.validators


def is_key_free(draft: Draft, key: bytes) -> bool:
    """Whether the key never voted, is nobody's wish, and is no member's identity."""
    return draft.get(KEYS, key) is None and draft.get(MEMBERS, key) is None


def seat(draft: Draft, context: Context, node: bytes, voting_key: bytes) -> Refusal | None:
    """Give a member a seat at the end of the coming set."""
    newcomer = (NodeId(node), PublicKey(voting_key))
    refusal = _change(draft, context, (*_seats(coming_set(draft, context)), newcomer))
    if refusal is None:
        draft.put(KEYS, voting_key, KeyRecord(node, context.validators.epoch + 1))
        set_role(draft, context, node, Role.VALIDATOR)
        draft.emit(ValidatorActivated(node, voting_key, context.tx))
    return refusal


def unseat(draft: Draft, context: Context, node: bytes) -> Refusal | None:
    """Take a seat out of the coming set."""
    seats = _seats(coming_set(draft, context))
    key = dict(seats)[NodeId(node)]
    refusal = _change(draft, context, tuple(one for one in seats if one[0] != node))
    if refusal is None:
        retire_key(draft, context, key)
        set_role(draft, context, node, Role.OBSERVER)
    return refusal


def give_up(draft: Draft, context: Context, lost: AbstractSet[bytes]) -> ValidatorSet:
    """Take away the seats of those who are gone for good, against all rules of change; the others weigh 1 each."""
    present = context.validators
    for one in present.validators:
        if one.node in lost:
            retire_key(draft, context, one.voting_key)
            set_role(draft, context, one.node, Role.OBSERVER)
    seats = tuple(one for one in _seats(present) if one[0] not in lost)
    survivors = next_set(present, seats, (1,) * len(seats))
    draft.put(VALIDATORS, THE_ONE, survivors)
    prune_words(draft, survivors)
    return survivors


def replace_key(draft: Draft, context: Context, node: bytes, voting_key: bytes) -> Refusal | None:
    """Let a seat vote with another key from the next epoch on."""
    seats = _seats(coming_set(draft, context))
    former = dict(seats)[NodeId(node)]
    changed = tuple((one, PublicKey(voting_key) if one == node else key) for one, key in seats)
    refusal = _change(draft, context, changed)
    if refusal is None:
        retire_key(draft, context, former)
        draft.put(KEYS, voting_key, KeyRecord(node, context.validators.epoch + 1))
    return refusal


def retire_key(draft: Draft, context: Context, key: bytes) -> None:
    """The present epoch is the key's last."""
    record = draft.get(KEYS, key)
    assert record is not None, "a seat without a record of its key"
    ended = msgspec.structs.replace(record, last_epoch=context.validators.epoch)
    draft.put(KEYS, key, ended)


def refresh_powers(draft: Draft, context: Context) -> None:
    """Reckon the powers by stake again, at heights where that is due and nothing else changed the set."""
    present, constants = context.validators, context.parameters
    due = constants.power == "stake" and context.height % constants.power_blocks == 0
    if due and coming_set(draft, context) == present and len(present.validators) >= LEAST_TOLERANT:
        fresh = _with_powers(draft, context, _seats(present))
        if [one.power for one in fresh.validators] != [one.power for one in present.validators]:
            draft.put(VALIDATORS, THE_ONE, fresh)


def prune_words(draft: Draft, now: ValidatorSet) -> None:
    """Forget the words of those who have no seat any more; to be called when the set changes."""
    seated = set(now.nodes)
    for node, candidacy in draft.items(CANDIDATES):
        left = tuple(approval for approval in candidacy.approvals if approval.approver in seated)
        if len(left) < len(candidacy.approvals):
            kept = msgspec.structs.replace(candidacy, approvals=left) if left else None
            draft.put(CANDIDATES, node, kept)
    for name, word in draft.items(WORDS):
        speakers = tuple(one for one in word.approvers if one in seated)
        if len(speakers) < len(word.approvers):
            kept_word = msgspec.structs.replace(word, approvers=speakers) if speakers else None
            draft.put(WORDS, name, kept_word)


def set_role(draft: Draft, context: Context, node: bytes, role: Role) -> None:
    """Make a node a member, or change what it may do."""
    draft.put(MEMBERS, node, Member(role, context.height))
    draft.emit(MemberChanged(node, role, context.transaction))


def end_membership(draft: Draft, context: Context, node: bytes) -> None:
    """Make an observer a stranger; nobody draws it for work any more."""
    draft.put(MEMBERS, node, None)
    draft.put(OFFERINGS, node, None)
    draft.emit(MemberChanged(node, None, context.transaction))


def _seats(members: ValidatorSet) -> Seats:
    return tuple((NodeId(one.node), PublicKey(one.voting_key)) for one in members.validators)


def _change(draft: Draft, context: Context, seats: Seats) -> Refusal | None:
    if len(seats) > MAX_VALIDATORS:
        return Refusal(Code.TOO_MANY_VALIDATORS, (MAX_VALIDATORS,))
    if not seats:
        return Refusal(Code.SET_TOO_SMALL)
    coming = _with_powers(draft, context, seats)
    fault = change_fault(context.validators, coming)
    if fault is not None:
        return Refusal(_CODES[fault])
    draft.put(VALIDATORS, THE_ONE, coming)
    return None


def _with_powers(draft: Draft, context: Context, seats: Seats) -> ValidatorSet:
    constants = context.parameters
    if constants.power == "equal":
        return next_set(context.validators, seats)
    stakes = tuple((draft.get(STAKES, node) or StakeRecord()).bonded for node, _ in seats)
    powers = stake_powers(stakes, constants.stake_per_power, cap=constants.cap_power)
    return next_set(context.validators, seats, powers)
