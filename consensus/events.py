"""What a block changed, as typed values for projections, subscribers and the node's own work.

`transaction` is the id of the transaction that caused it; None where time or the end of the block did.
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.quorum import ValidatorSet
from consensus.records import Account, Role, StakeRecord, Task, TaskGroup


@dataclass(frozen=True, slots=True)
class AccountChanged:
    """An account after the block; once a block, in the order of the ids, after all other events."""

    account: bytes
    now: Account


@dataclass(frozen=True, slots=True)
class TaskChanged:
    """A task after one operation; in execution order."""

    task_id: bytes
    now: Task
    transaction: bytes


@dataclass(frozen=True, slots=True)
class TaskGroupChanged:
    """A group of tasks was asked for, or has its verdict."""

    group_id: bytes
    now: TaskGroup
    transaction: bytes


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """A node was admitted, became a validator, or is one no more."""

    node: bytes
    role: Role
    transaction: bytes | None


@dataclass(frozen=True, slots=True)
class StakeReserved:
    """Money left `owner`'s account and is at risk for the votes of `validator` now."""

    validator: bytes
    owner: bytes
    amount: int
    transaction: bytes


@dataclass(frozen=True, slots=True)
class StakeUnbonding:
    """Money is on its way back to `owner`, still at risk until `release_ms` of block time."""

    validator: bytes
    owner: bytes
    amount: int
    release_ms: int
    transaction: bytes | None


@dataclass(frozen=True, slots=True)
class StakeReleased:
    """Money is back in `owner`'s account."""

    validator: bytes
    owner: bytes
    amount: int
    transaction: bytes | None


@dataclass(frozen=True, slots=True)
class StakeChanged:
    """All money at risk for a node after one operation; None: nothing any more."""

    validator: bytes
    now: StakeRecord | None


@dataclass(frozen=True, slots=True)
class ValidatorRegistered:
    """A member asks for a seat; its stake is reserved."""

    node: bytes
    voting_key: bytes
    name: str
    stake: int
    transaction: bytes


@dataclass(frozen=True, slots=True)
class ValidatorApproved:
    """A quorum spoke for a registered candidate: it may activate."""

    node: bytes
    voting_key: bytes
    transaction: bytes


@dataclass(frozen=True, slots=True)
class RegistrationEnded:
    """A candidate withdrew, or took too long; `reason` is "withdrawn" or "expired"."""

    node: bytes
    reason: str
    transaction: bytes | None


@dataclass(frozen=True, slots=True)
class ValidatorActivated:
    """A node has a seat from the next height on."""

    node: bytes
    voting_key: bytes
    transaction: bytes


@dataclass(frozen=True, slots=True)
class ValidatorDeactivated:
    """A node lost its seat; `reason` is "left", "removed" or "slashed"."""

    node: bytes
    reason: str
    transaction: bytes | None


@dataclass(frozen=True, slots=True)
class VotingKeyRotated:
    """A validator votes with another key from the next height on."""

    node: bytes
    former_key: bytes
    voting_key: bytes
    transaction: bytes


@dataclass(frozen=True, slots=True)
class Slashed:
    """A validator contradicted itself in (epoch, height): `amount` went to the treasury."""

    node: bytes
    voting_key: bytes
    epoch: int
    height: int
    amount: int
    transaction: bytes


@dataclass(frozen=True, slots=True)
class ReputationScoreChanged:
    """How a node has done, 0 to 1000; `reason` is a word for people."""

    node: bytes
    score: int
    reason: str
    transaction: bytes | None


@dataclass(frozen=True, slots=True)
class ParameterChanged:
    """A quorum set a constant, or the protocol version, from the next transaction on."""

    name: str
    value: int
    transaction: bytes


@dataclass(frozen=True, slots=True)
class EpochChanged:
    """The block ended its epoch; `now` votes from the next height on.

    The last event of its block.
    """

    now: ValidatorSet


Event = (
    AccountChanged
    | TaskChanged
    | TaskGroupChanged
    | MemberChanged
    | StakeReserved
    | StakeUnbonding
    | StakeReleased
    | StakeChanged
    | ValidatorRegistered
    | ValidatorApproved
    | RegistrationEnded
    | ValidatorActivated
    | ValidatorDeactivated
    | VotingKeyRotated
    | Slashed
    | ReputationScoreChanged
    | ParameterChanged
    | EpochChanged
)
