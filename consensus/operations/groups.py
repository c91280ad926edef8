"""What can be asked of groups of tasks: the same work done by several nodes, which are paid if they agree."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

from gossip.codec import Bytes32, Digest, Name, Natural, Wire, digest

MIN_REDUNDANCY = 2
MAX_REDUNDANCY = 7
MAX_KINDS = 32

Redundancy = Annotated[int, msgspec.Meta(ge=MIN_REDUNDANCY, le=MAX_REDUNDANCY)]


class AgreementRule(Enum):
    """When results agree: their hashes are equal, or the asker, who has read them, says that they are alike."""

    EQUAL = "equal"
    ATTESTED = "attested"


class SubmitGroup(Wire, frozen=True, tag="group_submit"):
    """Ask for the same work `redundancy` times; those of at least `agreement` that agree are paid `reward` each.

    `executors` names the nodes; without names the ledger draws among the members that offer the kind.
    """

    kind: Name
    input_hash: Bytes32
    reward: Natural
    redundancy: Redundancy
    agreement: Natural
    rule: AgreementRule
    executors: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=MAX_REDUNDANCY)]
    deadline_ms: Natural


class CommitResult(Wire, frozen=True, tag="group_commit"):
    """An executor fixes its result before it can see another's: the hash of the signed receipt, which holds a nonce."""

    task: Bytes32
    commitment: Bytes32


class AttestGroup(Wire, frozen=True, tag="group_attest"):
    """The asker names the tasks of a group whose results are alike."""

    group: Bytes32
    tasks: Annotated[
        tuple[Bytes32, ...], msgspec.Meta(min_length=MIN_REDUNDANCY, max_length=MAX_REDUNDANCY)
    ]


class OfferKinds(Wire, frozen=True, tag="offer_kinds"):
    """A member says which kinds of task the ledger may give it; none takes the offer back."""

    kinds: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_KINDS)]


GroupOperation = SubmitGroup | CommitResult | AttestGroup | OfferKinds


def member_id(group: bytes, place: int) -> Digest:
    """The id of the task at a place of a group."""
    return digest(b"group-task", group + place.to_bytes(4, "big"))


def result_commitment(signed_receipt: bytes) -> Digest:
    """What `CommitResult` carries, from the canonical bytes of the signed receipt."""
    return digest(b"committed-work", signed_receipt)
