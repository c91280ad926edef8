"""The values that the ledger keeps, and the tables they stand in."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

from consensus.operations.groups import MAX_KINDS, MAX_REDUNDANCY, AgreementRule
from consensus.operations.transactions import SignedReceipt
from consensus.operations.validators import Label
from consensus.parameters import Parameters
from consensus.quorum import MAX_VALIDATORS
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


class Delegation(Wire, frozen=True):
    """What somebody has bound to a validator."""

    delegator: Bytes32
    amount: Coins


class Unbonding(Wire, frozen=True):
    """Money on its way back to its owner: free from the first block whose time is `release_ms`."""

    owner: Bytes32
    amount: Coins
    release_ms: Natural


MAX_BACKERS = 256
MAX_UNBONDINGS = 4


class StakeRecord(Wire, frozen=True):
    """All money that is at risk for one node's votes.

    Delegations stand in the order of the delegators, at most `MAX_BACKERS` people in all, each with at most
    `MAX_UNBONDINGS` amounts on their way back. A condemned seat is lost as soon as the set can spare it.
    """

    name: Label = ""
    own: Coins = 0
    delegations: Annotated[tuple[Delegation, ...], msgspec.Meta(max_length=MAX_BACKERS)] = ()
    unbonding: Annotated[
        tuple[Unbonding, ...], msgspec.Meta(max_length=(MAX_BACKERS + 1) * MAX_UNBONDINGS)
    ] = ()
    condemned: bool = False

    @property
    def delegated(self) -> int:
        """What others have bound to it."""
        return sum([one.amount for one in self.delegations]) if self.delegations else 0

    @property
    def bonded(self) -> int:
        """What its power is reckoned from."""
        return self.own + self.delegated

    @property
    def total(self) -> int:
        """With what is on its way back."""
        due = sum([one.amount for one in self.unbonding]) if self.unbonding else 0
        return self.bonded + due


class Registration(Wire, frozen=True):
    """A candidate's wish for a seat; its stake stands in its `StakeRecord`.

    `approved` once a quorum of the power has spoken for it. From `expires_ms` on the stake goes back.
    """

    voting_key: Bytes32
    expires_ms: Natural
    approved: bool = False


class KeyRecord(Wire, frozen=True):
    """Whose a voting key is, and in which epochs it votes: the first None before it does, the last None while it does.

    One that has voted is kept for good, so that no key is used twice.
    """

    node: Bytes32
    first_epoch: Natural | None
    last_epoch: Natural | None = None
    slashed: bool = False


class Word(Wire, frozen=True):
    """The validators who want something: so far no quorum."""

    approvers: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=MAX_VALIDATORS)]


class InForce(Wire, frozen=True):
    """The federation's constants as they are now, and the protocol that its nodes speak."""

    parameters: Parameters
    protocol_version: Natural = 1


class Reputation(Wire, frozen=True):
    """How a node has done, 0 to 1000, and how often in a row its results contradicted the others'."""

    score: Annotated[int, msgspec.Meta(ge=0, le=1000)]
    mismatches_in_a_row: Natural = 0


class Offering(Wire, frozen=True):
    """The kinds of task that the ledger may give a member, sorted."""

    kinds: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_KINDS)]


class Verdict(Enum):
    """What the members of a group came to."""

    OPEN = "open"
    AGREED = "agreed"
    INCONCLUSIVE = "inconclusive"


class TaskGroup(Wire, frozen=True):
    """The same work done several times; `is_drawn` if the ledger chose by whom."""

    submitter: Bytes32
    tasks: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=MAX_REDUNDANCY)]
    agreement: Natural
    rule: AgreementRule
    is_drawn: bool
    deadline_ms: Natural
    verdict: Verdict = Verdict.OPEN


class TaskState(Enum):
    """Where a task stands; the last three are final. Only members of a group are committed and revealed."""

    QUEUED = "queued"
    ASSIGNED = "assigned"
    COMMITTED = "committed"
    REVEALED = "revealed"
    SETTLED = "settled"
    FAILED = "failed"
    CANCELLED = "cancelled"


_ENDED = (TaskState.SETTLED, TaskState.FAILED, TaskState.CANCELLED)


class Task(Wire, frozen=True):
    """A piece of asked-for work. Its reward is in escrow until its state is final."""

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
    group: Bytes32 | None = None
    commitment: Bytes32 | None = None

    @property
    def is_open(self) -> bool:
        """Whether the reward still waits in escrow."""
        return self.state not in _ENDED

    @property
    def output_hash(self) -> Digest | None:
        """The hash of the output, once it is known."""
        return None if self.receipt is None else Digest(self.receipt.receipt.output_hash)
