"""How a member gets a seat, changes its key, and loses the seat again.

The saga: `register` reserves the stake, a quorum of validators approves, `activate` takes the seat once the candidate's
node has caught up. Each step that fails gives back what the ones before took: a candidate may withdraw, and a
registration that leads to no seat in time ends by itself, with the stake back in the account.
"""

from __future__ import annotations

import msgspec

from consensus.ledger.accounts import grant
from consensus.ledger.events import (
    RegistrationEnded,
    ReputationScoreChanged,
    Slashed,
    ValidatorDeactivated,
    ValidatorRegistered,
    VotingKeyRotated,
)
from consensus.ledger.outcomes import Code, Refusal
from consensus.ledger.records import KeyRecord, Registration, Reputation, Role, Word
from consensus.ledger.seats import (
    end_membership,
    is_key_free,
    refresh_powers,
    replace_key,
    seat,
    unseat,
)
from consensus.ledger.stake import (
    put_record,
    record_of,
    release_due,
    release_own,
    reserve,
    slash,
    unbond_all,
)
from consensus.ledger.state import Context, Draft
from consensus.ledger.tables import (
    CANDIDATES,
    KEYS,
    MEMBERS,
    REGISTRATIONS,
    REPUTATION,
    STAKES,
    WORDS,
)
from consensus.operations.validators import (
    MAX_AMOUNT,
    ActivateValidator,
    ApproveExpulsion,
    ApproveRemoval,
    LeaveValidators,
    RegisterValidator,
    ReportEquivocation,
    RotateVotingKey,
    possession_bytes,
    readiness_bytes,
)
from consensus.quorum import MAX_VALIDATORS
from gossip.codec import digest


def register(draft: Draft, context: Context, operation: RegisterValidator) -> Refusal | None:
    """Reserve the stake and write down the wish."""
    node, constants = context.sender, context.parameters
    refusal = _unfit(draft, context, operation)
    if refusal is not None:
        return refusal
    expires_ms = min(context.time_ms + constants.registration_ms, MAX_AMOUNT)
    draft.put(REGISTRATIONS, node, Registration(operation.voting_key, expires_ms))
    draft.put(KEYS, operation.voting_key, KeyRecord(node, None))
    refusal = reserve(draft, context, node, operation.stake)
    if refusal is not None:
        return refusal
    put_record(draft, node, msgspec.structs.replace(record_of(draft, node), name=operation.name))
    draft.emit(
        ValidatorRegistered(node, operation.voting_key, operation.name, operation.stake, context.tx)
    )
    return None


def _unfit(draft: Draft, context: Context, operation: RegisterValidator) -> Refusal | None:
    node, least = context.sender, context.parameters.min_stake
    member = draft.get(MEMBERS, node)
    if member is None:
        return Refusal(Code.NOT_MEMBER)
    if member.role is Role.VALIDATOR:
        return Refusal(Code.ALREADY_VALIDATOR)
    if draft.get(REGISTRATIONS, node) is not None:
        return Refusal(Code.ALREADY_REGISTERED)
    if not operation.name.isprintable() or operation.name != operation.name.strip():
        return Refusal(Code.LABEL_INVALID)
    if operation.stake < least:
        return Refusal(Code.STAKE_TOO_SMALL, (operation.stake, least))
    if not is_key_free(draft, operation.voting_key):
        return Refusal(Code.VOTING_KEY_TAKEN)
    if len(draft.items(REGISTRATIONS)) >= MAX_VALIDATORS:
        return Refusal(Code.TOO_MANY_VALIDATORS, (MAX_VALIDATORS,))
    if not _holds_key(context, operation.voting_key, operation.proof):
        return Refusal(Code.KEY_PROOF_INVALID)
    return None


def activate(draft: Draft, context: Context, operation: ActivateValidator) -> Refusal | None:
    """Take the seat that was approved."""
    node, chain = context.sender, context.genesis.federation_id
    registration = draft.get(REGISTRATIONS, node)
    if registration is None:
        return Refusal(Code.NOT_REGISTERED)
    if not registration.approved:
        return Refusal(Code.NOT_APPROVED)
    earliest = max(0, context.height - 1 - context.parameters.activation_blocks)
    if not earliest <= operation.height < context.height:
        return Refusal(Code.NOT_READY, (operation.height, earliest, context.height - 1))
    signed = readiness_bytes(chain, node, operation.height)
    if not context.verifier.verify(registration.voting_key, signed, operation.proof):
        return Refusal(Code.KEY_PROOF_INVALID)
    record, least = record_of(draft, node), context.parameters.min_stake
    if record.own < least:
        return Refusal(Code.STAKE_TOO_SMALL, (record.own, least))
    refusal = seat(draft, context, node, registration.voting_key)
    if refusal is not None:
        return refusal
    draft.put(REGISTRATIONS, node, None)
    grant(draft, context, node, context.parameters.validator_grant)
    return None


def leave(draft: Draft, context: Context, _operation: LeaveValidators) -> Refusal | None:
    """Give up the seat, or withdraw the registration."""
    node = context.sender
    if draft.get(REGISTRATIONS, node) is not None:
        _end_registration(draft, context, node, "withdrawn")
        return None
    return _deactivate(draft, context, node, "left")


def rotate_key(draft: Draft, context: Context, operation: RotateVotingKey) -> Refusal | None:
    """Vote with another key from the next epoch on."""
    present = {one.node: one.voting_key for one in context.validators.validators}
    member = draft.get(MEMBERS, context.sender)
    if member is None or member.role is not Role.VALIDATOR or context.sender not in present:
        return Refusal(Code.NOT_VALIDATOR)
    if record_of(draft, context.sender).condemned:
        return Refusal(Code.CONDEMNED)
    if not is_key_free(draft, operation.voting_key):
        return Refusal(Code.VOTING_KEY_TAKEN)
    if not _holds_key(context, operation.voting_key, operation.proof):
        return Refusal(Code.KEY_PROOF_INVALID)
    refusal = replace_key(draft, context, context.sender, operation.voting_key)
    if refusal is None:
        former = present[context.sender]
        draft.emit(VotingKeyRotated(context.sender, former, operation.voting_key, context.tx))
    return refusal


def report(draft: Draft, context: Context, operation: ReportEquivocation) -> Refusal | None:
    """Punish a key that signed two answers to one question: once, while money is at risk for it."""
    key = draft.get(KEYS, operation.voter)
    if key is None or key.first_epoch is None or operation.epoch < key.first_epoch:
        return Refusal(Code.UNKNOWN_KEY)
    last = context.validators.epoch if key.last_epoch is None else key.last_epoch
    if operation.epoch > last:
        return Refusal(Code.UNKNOWN_KEY)
    if key.slashed:
        return Refusal(Code.ALREADY_SLASHED)
    if draft.get(STAKES, key.node) is None:
        return Refusal(Code.EVIDENCE_OLD)
    if not operation.holds(context.genesis.federation_id, context.verifier):
        return Refusal(Code.EVIDENCE_INVALID)
    draft.put(KEYS, operation.voter, msgspec.structs.replace(key, slashed=True))
    taken = slash(draft, context, key.node)
    draft.emit(
        Slashed(key.node, operation.voter, operation.epoch, operation.height, taken, context.tx)
    )
    draft.put(REPUTATION, key.node, Reputation(0))
    draft.emit(ReputationScoreChanged(key.node, 0, "slashed", context.tx))
    return None


def approve_removal(draft: Draft, context: Context, operation: ApproveRemoval) -> Refusal | None:
    """A validator's word against another's seat; the one that makes a quorum takes it away."""
    if context.sender not in context.validators.nodes:
        return Refusal(Code.NOT_VALIDATOR)
    member = draft.get(MEMBERS, operation.node)
    if member is None or member.role is not Role.VALIDATOR:
        return Refusal(Code.UNKNOWN_VALIDATOR)
    name = digest(b"removal", operation.node)
    if not add_word(draft, context, name):
        return None
    return _deactivate(draft, context, operation.node, "removed")


def approve_expulsion(
    draft: Draft, context: Context, operation: ApproveExpulsion
) -> Refusal | None:
    """A validator's word against an observer; the one that makes a quorum ends its membership.

    What it owns stays its own. A seat has to be taken away first, since that is bound to other rules.
    """
    node = operation.node
    if context.sender not in context.validators.nodes:
        return Refusal(Code.NOT_VALIDATOR)
    member = draft.get(MEMBERS, node)
    if member is None:
        return Refusal(Code.UNKNOWN_MEMBER)
    if member.role is Role.VALIDATOR:
        return Refusal(Code.STILL_VALIDATOR)
    if not add_word(draft, context, digest(b"expulsion", node)):
        return None
    if draft.get(REGISTRATIONS, node) is not None:
        _end_registration(draft, context, node, "expelled")
    draft.put(CANDIDATES, node, None)
    end_membership(draft, context, node)
    return None


def add_word(draft: Draft, context: Context, name: bytes) -> bool:
    """Count the sender's word for something; whether a quorum wants it now, which settles it."""
    former = draft.get(WORDS, name) or Word(())
    approvers = {*former.approvers, context.sender}
    power = sum(one.power for one in context.validators.validators if one.node in approvers)
    wanted = context.validators.is_quorum(power)
    draft.put(WORDS, name, None if wanted else Word(tuple(sorted(approvers))))
    return wanted


def end_block(draft: Draft, context: Context) -> None:
    """What time and the end of the block bring: money due, registrations expired, condemned seats, powers."""
    release_due(draft, context)
    for node, _ in draft.those(REGISTRATIONS, lambda one: one.expires_ms <= context.time_ms):
        _end_registration(draft, context, node, "expired")
    for node, _ in draft.those(STAKES, lambda one: one.condemned):
        _deactivate(draft, context, node, "slashed")
    refresh_powers(draft, context)


def _end_registration(draft: Draft, context: Context, node: bytes, reason: str) -> None:
    registration = draft.get(REGISTRATIONS, node)
    assert registration is not None
    draft.put(REGISTRATIONS, node, None)
    draft.put(KEYS, registration.voting_key, None)
    draft.put(CANDIDATES, node, None)
    release_own(draft, context, node)
    draft.emit(RegistrationEnded(node, reason, context.transaction))


def _deactivate(draft: Draft, context: Context, node: bytes, reason: str) -> Refusal | None:
    """Take a seat away and send everything at risk on its way back."""
    member = draft.get(MEMBERS, node)
    if member is None or member.role is not Role.VALIDATOR:
        return Refusal(Code.NOT_VALIDATOR)
    refusal = unseat(draft, context, node)
    if refusal is None:
        draft.put(WORDS, digest(b"removal", node), None)
        unbond_all(draft, context, node)
        draft.emit(ValidatorDeactivated(node, reason, context.transaction))
    return refusal


def _holds_key(context: Context, voting_key: bytes, proof: bytes) -> bool:
    signed = possession_bytes(context.genesis.federation_id, context.sender, voting_key)
    return context.verifier.verify(voting_key, signed, proof)
