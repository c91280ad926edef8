"""How nodes get in: observers by a validator's word, validators by a quorum's."""

from __future__ import annotations

import msgspec

from consensus.ledger.accounts import grant
from consensus.ledger.events import ValidatorApproved
from consensus.ledger.outcomes import Code, Refusal
from consensus.ledger.records import Approval, Candidacy, Role, UsedInvite
from consensus.ledger.seats import is_key_free, seat, set_role
from consensus.ledger.stake import reserve
from consensus.ledger.state import Context, Draft
from consensus.ledger.tables import CANDIDATES, INVITES, KEYS, MEMBERS, REGISTRATIONS
from consensus.operations.transactions import AdmitObserver, ApproveValidator


def admit_observer(draft: Draft, context: Context, operation: AdmitObserver) -> Refusal | None:
    """A validator lets a node in."""
    if context.sender not in context.validators.nodes:
        return Refusal(Code.NOT_VALIDATOR)
    if draft.get(MEMBERS, operation.node) is not None:
        return Refusal(Code.ALREADY_MEMBER)
    if operation.invite is not None and draft.get(INVITES, operation.invite) is not None:
        return Refusal(Code.INVITE_USED)
    if draft.get(KEYS, operation.node) is not None:
        return Refusal(Code.VOTING_KEY_TAKEN)
    if operation.invite is not None:
        draft.put(INVITES, operation.invite, UsedInvite(operation.node, context.height))
    set_role(draft, context, operation.node, Role.OBSERVER)
    grant(draft, context, operation.node, context.parameters.observer_grant)
    return None


def approve_validator(
    draft: Draft, context: Context, operation: ApproveValidator
) -> Refusal | None:
    """A validator speaks for a candidate.

    The word that makes a quorum lets a registered candidate activate, and seats an observer that has not registered,
    its stake taken from the grant. Each validator has one word for each candidate: a new voting key replaces the old
    one, the same key again changes nothing but is counted again, in case the set has changed since.
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
        return _approved(draft, context, operation)
    approvals = tuple(Approval(approver, key) for approver, key in sorted(words.items()))
    draft.put(CANDIDATES, operation.node, Candidacy(approvals))
    return None


def _unfit(draft: Draft, context: Context, operation: ApproveValidator) -> Refusal | None:
    """Why neither this sender's word nor anybody's could seat the candidate."""
    candidate = draft.get(MEMBERS, operation.node)
    if context.sender not in context.validators.nodes:
        return Refusal(Code.NOT_VALIDATOR)
    if candidate is None:
        return Refusal(Code.NOT_MEMBER)
    if candidate.role is Role.VALIDATOR:
        return Refusal(Code.ALREADY_VALIDATOR)
    registration = draft.get(REGISTRATIONS, operation.node)
    if registration is None:
        free = is_key_free(draft, operation.voting_key)
        return None if free else Refusal(Code.VOTING_KEY_TAKEN)
    if registration.voting_key != operation.voting_key:
        return Refusal(Code.VOTING_KEY_MISMATCH)
    return None


def _approved(draft: Draft, context: Context, operation: ApproveValidator) -> Refusal | None:
    """A quorum has spoken."""
    node, key = operation.node, operation.voting_key
    draft.put(CANDIDATES, node, None)
    registration = draft.get(REGISTRATIONS, node)
    if registration is not None:
        draft.put(REGISTRATIONS, node, msgspec.structs.replace(registration, approved=True))
        draft.emit(ValidatorApproved(node, key, context.tx))
        return None
    grant(draft, context, node, context.parameters.validator_grant)
    return reserve(draft, context, node, context.parameters.min_stake) or seat(
        draft, context, node, key
    )
