"""What a block changed, as typed values for projections, subscribers and the node's own work.

`transaction` is the id of the transaction that caused it; None where time or the end of the block did. In the
event log an event is the array of its fields.
"""

from __future__ import annotations

from consensus.ledger.records import Account, Role, StakeRecord, Task, TaskGroup
from consensus.quorum import ValidatorSet
from gossip.codec import Wire


class AccountChanged(Wire, frozen=True):
    """An account after the block; once a block, in the order of the ids, after all other events."""

    account: bytes
    now: Account


class TaskChanged(Wire, frozen=True):
    """A task after one operation; in execution order."""

    task_id: bytes
    now: Task
    transaction: bytes


class TaskGroupChanged(Wire, frozen=True):
    """A group of tasks was asked for, or has its verdict."""

    group_id: bytes
    now: TaskGroup
    transaction: bytes


class MemberChanged(Wire, frozen=True):
    """A node was admitted, became a validator, is one no more, or (without a role) is no member any more."""

    node: bytes
    role: Role | None
    transaction: bytes | None


class StakeReserved(Wire, frozen=True):
    """Money left `owner`'s account and is at risk for the votes of `validator` now."""

    validator: bytes
    owner: bytes
    amount: int
    transaction: bytes


class StakeUnbonding(Wire, frozen=True):
    """Money is on its way back to `owner`, still at risk until `release_ms` of block time."""

    validator: bytes
    owner: bytes
    amount: int
    release_ms: int
    transaction: bytes | None


class StakeReleased(Wire, frozen=True):
    """Money is back in `owner`'s account."""

    validator: bytes
    owner: bytes
    amount: int
    transaction: bytes | None


class StakeChanged(Wire, frozen=True):
    """All money at risk for a node after one operation; None: nothing any more."""

    validator: bytes
    now: StakeRecord | None


class ValidatorRegistered(Wire, frozen=True):
    """A member asks for a seat; its stake is reserved."""

    node: bytes
    voting_key: bytes
    name: str
    stake: int
    transaction: bytes


class ValidatorApproved(Wire, frozen=True):
    """A quorum spoke for a registered candidate: it may activate."""

    node: bytes
    voting_key: bytes
    transaction: bytes


class RegistrationEnded(Wire, frozen=True):
    """A candidate withdrew, or took too long; `reason` is "withdrawn" or "expired"."""

    node: bytes
    reason: str
    transaction: bytes | None


class ValidatorActivated(Wire, frozen=True):
    """A node has a seat from the next height on."""

    node: bytes
    voting_key: bytes
    transaction: bytes


class ValidatorDeactivated(Wire, frozen=True):
    """A node lost its seat; `reason` is "left", "removed" or "slashed"."""

    node: bytes
    reason: str
    transaction: bytes | None


class VotingKeyRotated(Wire, frozen=True):
    """A validator votes with another key from the next height on."""

    node: bytes
    former_key: bytes
    voting_key: bytes
    transaction: bytes


class Slashed(Wire, frozen=True):
    """A validator contradicted itself in (epoch, height): `amount` went to the treasury."""

    node: bytes
    voting_key: bytes
    epoch: int
    height: int
    amount: int
    transaction: bytes


class ReputationScoreChanged(Wire, frozen=True):
    """How a node has done, 0 to 1000; `reason` is a word for people."""

    node: bytes
    score: int
    reason: str
    transaction: bytes | None


class ParameterChanged(Wire, frozen=True):
    """A quorum set a constant, from the next transaction on, or the protocol version, from the next block on."""

    name: str
    value: int
    transaction: bytes


class EpochChanged(Wire, frozen=True):
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
