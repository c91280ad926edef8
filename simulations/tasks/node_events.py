"""What a whole node is told and asks for, beside the events of its engine and the effects of `gossip.effects`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from consensus.operations.groups import AgreementRule
from consensus.operations.transactions import (
    Operation,
    Transaction,
)
from gossip.codec import Digest
from gossip.identity import NodeId
from inference.desk_events import (
    WorkDone,
    WorkFailed,
)
from inference.handoff import (
    Finished,
)
from simulations.tasks.conversations import Frame, Name


@dataclass(frozen=True, slots=True)
class Ask:
    """A user wants this done by these nodes: by one, or by several that must agree."""

    kind: str
    content: bytes
    executors: tuple[NodeId, ...]
    reward: int
    deadline_ms: int
    why: str
    agreement: int = 1
    rule: AgreementRule = AgreementRule.EQUAL


@dataclass(frozen=True, slots=True)
class Pay:
    """A user wants this operation signed."""

    operation: Operation


@dataclass(frozen=True, slots=True)
class Withdraw:
    """A user takes a task back."""

    task: Digest


@dataclass(frozen=True, slots=True)
class Worked:
    """The backend is done."""

    done: WorkDone | WorkFailed


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message of a stream."""

    peer: NodeId
    frame: Frame


@dataclass(frozen=True, slots=True)
class Broke:
    """A stream carries nothing any more."""

    peer: NodeId
    stream: Name


@dataclass(frozen=True, slots=True)
class Durable:
    """What the engine reported, now on disk."""

    reports: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class CarryOut:
    """What the desk wants, now that what it promised is on disk."""

    effects: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Then:
    """Hand this event back once everything written so far is on disk."""

    event: object


@dataclass(frozen=True, slots=True)
class Put:
    """A message of a stream for its other end."""

    to: NodeId
    frame: Frame


@dataclass(frozen=True, slots=True)
class Placed:
    """For the user: its request has become these tasks."""

    ask: Ask
    tasks: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class HandIn:
    """Inner effect: a transaction that leaves when its tasks are noted."""

    transaction: Transaction
    tasks: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class Countersign:
    """Inner effect: sign the receipt too, if the output was found good and is on disk."""

    stream: Name
    task: Digest
    reply: Finished
