"""The values that the ledger keeps, and the tables they stand in."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

from consensus.quorum import MAX_VALIDATORS
from consensus.transactions import SignedReceipt
from gossip.codec import Bytes32, Digest, Name, Natural, Sentence, Wire
from gossip.json_form import Coins


class Account(Wire, frozen=True):
    """What somebody owns, and the nonce that its next transaction must carry."""

    balance: Coins
    nonce: Natural


class Role(Enum):
    """What a member may do: read and ask, or also vote."""

    OBSERVER = "observer"
    VALIDATOR = "validator"


class Member(Wire, frozen=True):
    """An admitted node; `since_height` is where it got its role."""

    role: Role
    since_height: Natural


class UsedInvite(Wire, frozen=True):
    """Who came in with an invite, and when."""

    node: Bytes32
    height: Natural


class Approval(Wire, frozen=True):
    """A validator's word for a candidate's voting key."""

    approver: Bytes32
    voting_key: Bytes32


class Candidacy(Wire, frozen=True):
    """The approvals of one candidate in the order of the approvers, at most one from each."""

    approvals: Annotated[tuple[Approval, ...], msgspec.Meta(max_length=MAX_VALIDATORS)]


class TaskState(Enum):
    """Where a task stands; the last three are final."""

    QUEUED = "queued"
    ASSIGNED = "assigned"
    SETTLED = "settled"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Task(Wire, frozen=True):
    """A piece of asked-for work. Its reward is in escrow while it is queued or assigned."""

    submitter: Bytes32
    kind: Name
    input_hash: Bytes32
    reward: Coins
    reserved_for: Bytes32 | None
    deadline_ms: Natural
    submit_tx: Bytes32
    submit_height: Natural
    state: TaskState = TaskState.QUEUED
    executor: Bytes32 | None = None
    receipt: SignedReceipt | None = None
    reason: Sentence = ""

    @property
    def is_open(self) -> bool:
        """Whether the reward still waits in escrow."""
        return self.state in (TaskState.QUEUED, TaskState.ASSIGNED)

    @property
    def output_hash(self) -> Digest | None:
        """The hash of the output, once settled."""
        return None if self.receipt is None else Digest(self.receipt.receipt.output_hash)
