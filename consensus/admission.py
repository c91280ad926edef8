"""How nodes get in: observers by a validator's word, validators by a quorum's."""

from __future__ import annotations

import msgspec

from consensus.accounts import grant
from consensus.events import MemberChanged
from consensus.outcomes import Code, Refusal
from consensus.quorum import MAX_VALIDATORS, ValidatorSet, next_set
from consensus.records import Approval, Candidacy, Member, Role, UsedInvite
from consensus.state import Context, Draft, Table
from consensus.transactions import AdmitObserver, ApproveValidator
from gossip.identity import NodeId, PublicKey

MEMBERS = Table(b"m", Member)
INVITES = Table(b"i", UsedInvite)
CANDIDATES = Table(b"c", Candidacy)
VALIDATORS = Table(b"v", ValidatorSet)

THE_SET = b""
"""The one id in `VALIDATORS`: within a block, the set that will vote after it."""

_LEAST_TOLERANT = 4


def admit_observer(draft: Draft, context: Context, operation: AdmitObserver) -> Refusal | None:
    """A validator lets a node in."""
    if context.sender not in context.validators.nodes:
        return Refusal(Code.NOT_VALIDATOR)
    if draft.get(MEMBERS, operation.node) is not None:
        return Refusal(Code.ALREADY_MEMBER)
    if operation.invite is not None and draft.get(INVITES, operation.invite) is not None:
        return Refusal(Code.INVITE_USED)
    if operation.node in _voting_keys(_coming_set(draft, context)):
        return Refusal(Code.VOTING_KEY_TAKEN)
    if operation.invite is not None:
        draft.put(INVITES, operation.invite, UsedInvite(operation.node, context.height))
    _set_role(draft, context, operation.node, Role.OBSERVER)
    grant(draft, context, operation.node, context.genesis.parameters.observer_grant)
    return None


def approve_validator(
    draft: Draft, context: Context, operation: ApproveValidator
) -> Refusal | None:
    """A validator speaks for a candidate; the word that makes a quorum seats it.

    Each validator has one word for each candidate: a new voting key replaces the old one, the same
    key again changes nothing but is counted again, in case the set has changed since.
    """
    refusal = _unfit(draft, context, operation)
    if refusal is not None:
        return refusal
    former = draft.get(CANDIDATES, operation.node) or Candidacy(())
    words = {approval.approver: approval.voting_key for approval in former.approvals}
    words[context.sender] = operation.voting_key
    backers = {approver for approver, key in words.items() if key == operation.voting_key}
    power = sum(seat.power for seat in context.validators.validators if seat.node in backers)
    if context.validators.is_quorum(power):
        return _seat(draft, context, operation)
    approvals = tuple(Approval(approver, key) for approver, key in sorted(words.items()))
    draft.put(CANDIDATES, operation.node, Candidacy(approvals))
    return None


def _unfit(draft: Draft, context: Context, operation: ApproveValidator) -> Refusal | None:
    """Why neither this sender's word nor anybody's could seat the candidate."""
    coming = _coming_set(draft, context)
    candidate = draft.get(MEMBERS, operation.node)
    if context.sender not in context.validators.nodes:
        return Refusal(Code.NOT_VALIDATOR)
    if candidate is None:
        return Refusal(Code.NOT_MEMBER)
    if candidate.role is Role.VALIDATOR:
        return Refusal(Code.ALREADY_VALIDATOR)
    if (
        operation.voting_key in _voting_keys(coming)
        or draft.get(MEMBERS, operation.voting_key) is not None
    ):
        return Refusal(Code.VOTING_KEY_TAKEN)
    if len(coming.validators) >= MAX_VALIDATORS:
        return Refusal(Code.TOO_MANY_VALIDATORS, (MAX_VALIDATORS,))
    return None


def _seat(draft: Draft, context: Context, operation: ApproveValidator) -> Refusal | None:
    """Put the candidate at the end of the seats of the next epoch."""
    coming, present = _coming_set(draft, context), len(context.validators.validators)
    newcomers = len(coming.validators) - present + 1
    if present >= _LEAST_TOLERANT and 3 * newcomers >= present:
        return Refusal(Code.TOO_FAST_GROWTH)
    seats = tuple((NodeId(seat.node), PublicKey(seat.voting_key)) for seat in coming.validators)
    newcomer = (NodeId(operation.node), PublicKey(operation.voting_key))
    draft.put(VALIDATORS, THE_SET, next_set(context.validators, (*seats, newcomer)))
    draft.put(CANDIDATES, operation.node, None)
    _set_role(draft, context, operation.node, Role.VALIDATOR)
    grant(draft, context, operation.node, context.genesis.parameters.validator_grant)
    return None


def prune_approvals(draft: Draft, now: ValidatorSet) -> None:
    """Forget the words of those who have no seat any more; to be called when the set changes."""
    seated = set(now.nodes)
    for node, candidacy in draft.items(CANDIDATES):
        left = tuple(approval for approval in candidacy.approvals if approval.approver in seated)
        if len(left) < len(candidacy.approvals):
            draft.put(
                CANDIDATES,
                node,
                msgspec.structs.replace(candidacy, approvals=left) if left else None,
            )


def _coming_set(draft: Draft, context: Context) -> ValidatorSet:
    return draft.get(VALIDATORS, THE_SET) or context.validators


def _voting_keys(validators: ValidatorSet) -> set[bytes]:
    return {seat.voting_key for seat in validators.validators}


def _set_role(draft: Draft, context: Context, node: bytes, role: Role) -> None:
    draft.put(MEMBERS, node, Member(role, context.height))
    draft.emit(MemberChanged(node, role, context.transaction))
