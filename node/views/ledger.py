"""Views that are made of the ledger alone, by whoever has it: the node, and an auditor of its own copy."""

from __future__ import annotations

import msgspec

from consensus.ledger.machine import Ledger
from consensus.ledger.records import Registration, StakeRecord
from consensus.parameters import CHANGEABLE
from consensus.quorum import ValidatorSet
from gossip.json_form import to_json
from node.views.records import (
    ParametersView,
    RegisteredView,
    RegistryView,
    ValidatorsView,
    ValidatorView,
)


def registry_view(ledger: Ledger) -> RegistryView:
    """All validators and candidates."""
    wishes = dict(ledger.registrations())
    return RegistryView(
        validators=tuple(
            _registered(ledger.validators, node, record, wishes.get(node))
            for node, record in ledger.stakes()
        )
    )


def _registered(
    members: ValidatorSet, node: bytes, record: StakeRecord, wish: Registration | None
) -> RegisteredView:
    seats = {one.node: one for one in members.validators}
    seat = seats.get(node)
    if seat is not None:
        state, key = "condemned" if record.condemned else "active", seat.voting_key.hex()
    elif wish is not None:
        state, key = "approved" if wish.approved else "registered", wish.voting_key.hex()
    else:
        state, key = "former", None
    return RegisteredView(
        id=node.hex(),
        name=record.name,
        state=state,
        stake=str(record.own),
        delegated=str(record.delegated),
        unbonding=str(record.total - record.bonded),
        power=0 if seat is None else seat.power,
        voting_key=key,
    )


def parameters_view(ledger: Ledger) -> ParametersView:
    """The federation's constants."""
    return ParametersView(
        parameters=msgspec.json.decode(to_json(ledger.parameters)),
        protocol_version=ledger.protocol_version,
        changeable=CHANGEABLE,
    )


def validators_view(members: ValidatorSet) -> ValidatorsView:
    """Who decides the next block."""
    return ValidatorsView(
        epoch=members.epoch,
        quorum=members.quorum_power,
        total_power=members.total,
        faults_tolerated=members.faults_tolerated,
        hash=members.hash.hex(),
        validators=tuple(
            ValidatorView(
                node_id=seat.node.hex(), voting_key=seat.voting_key.hex(), power=seat.power
            )
            for seat in members.validators
        ),
    )
