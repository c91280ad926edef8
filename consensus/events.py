"""What a block changed, as typed values for projections, subscribers and the node's own work."""

from __future__ import annotations

from dataclasses import dataclass

from consensus.quorum import ValidatorSet
from consensus.records import Account, Role, Task


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
class MemberChanged:
    """A node was admitted, or became a validator."""

    node: bytes
    role: Role
    transaction: bytes


@dataclass(frozen=True, slots=True)
class EpochChanged:
    """The block ended its epoch; `now` votes from the next height on.

    The last event of its block.
    """

    now: ValidatorSet


Event = AccountChanged | TaskChanged | MemberChanged | EpochChanged
