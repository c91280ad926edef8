"""How the validators of a federation change its constants, and the protocol that it speaks."""

from __future__ import annotations

import msgspec

from consensus.ledger.events import ParameterChanged
from consensus.ledger.outcomes import Code, Refusal
from consensus.ledger.records import InForce
from consensus.ledger.registry import add_word
from consensus.ledger.state import Context, Draft
from consensus.ledger.tables import IN_FORCE, THE_ONE
from consensus.operations.validators import ApproveParameter
from consensus.parameters import CHANGEABLE, Parameters
from gossip.codec import DecodeError, decode, digest, encode


def approve_parameter(
    draft: Draft, context: Context, operation: ApproveParameter
) -> Refusal | None:
    """A validator's word for a constant; the one that makes a quorum sets it."""
    in_force = draft.get(IN_FORCE, THE_ONE)
    assert in_force is not None
    if context.sender not in context.validators.nodes:
        return Refusal(Code.NOT_VALIDATOR)
    changed = _changed(in_force, operation)
    if isinstance(changed, Refusal):
        return changed
    if add_word(draft, context, digest(b"amendment", encode((operation.name, operation.value)))):
        draft.put(IN_FORCE, THE_ONE, changed)
        draft.emit(ParameterChanged(operation.name, operation.value, context.tx))
    return None


def _changed(now: InForce, operation: ApproveParameter) -> InForce | Refusal:
    if operation.name == "protocol_version":
        if operation.value != now.protocol_version + 1:
            return Refusal(Code.VALUE_OUT_OF_RANGE)
        return InForce(now.parameters, operation.value)
    if operation.name not in CHANGEABLE:
        return Refusal(Code.UNKNOWN_PARAMETER)
    wished = {operation.name: operation.value}
    parameters = msgspec.structs.replace(now.parameters, **wished)
    try:
        decode(encode(parameters), Parameters)
    except DecodeError:
        return Refusal(Code.VALUE_OUT_OF_RANGE)
    if parameters.min_task_lead_ms > parameters.max_task_lead_ms:
        return Refusal(Code.VALUE_OUT_OF_RANGE)
    return InForce(parameters, now.protocol_version)
