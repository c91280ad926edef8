"""What a task desk is told and what it asks for: the events and effects of `inference/lifecycle.py`."""

from __future__ import annotations

from dataclasses import dataclass

from consensus.operations.transactions import Operation, Usage
from gossip.codec import Digest
from gossip.effects import CancelTimer, Notify, Persist, SetTimer
from gossip.identity import NodeId
from inference.handoff import Offer, Reply


@dataclass(frozen=True, slots=True)
class Started:
    """The node is up and its ledger is loaded, though blocks may still be missing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A user's task; its transaction is about to be handed in. `content` is the canonical input.

    `why` says why this executor was chosen; with `movable` it may be another one if this one vanishes. `instead_of` is
    the task, with the same input, that this one takes the place of, since its executor has vanished.
    """

    task: Digest
    kind: str
    content: bytes
    executor: NodeId
    deadline_ms: int
    submit_tx: Digest
    why: str = ""
    movable: bool = False
    instead_of: Digest | None = None


@dataclass(frozen=True, slots=True)
class SubmitRefused:
    """The task's transaction was dropped or failed: it will never be on the ledger."""

    task: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The user takes a task back; without effect once somebody has claimed it."""

    task: Digest


@dataclass(frozen=True, slots=True)
class NobodyElse:
    """No other node can have a task whose executor declined it or was not reached."""

    task: Digest


@dataclass(frozen=True, slots=True)
class LedgerChanged:
    """A transaction in a final block changed a task; what it is now is read from the ledger."""

    task: Digest
    transaction: bytes
    height: int


@dataclass(frozen=True, slots=True)
class OfferReceived:
    """A peer offers a task with its input."""

    peer: NodeId
    offer: Offer
    content: bytes


@dataclass(frozen=True, slots=True)
class CountersignReceived:
    """A peer signed the receipt for its task too."""

    peer: NodeId
    task: Digest
    signature: bytes


@dataclass(frozen=True, slots=True)
class ReplyReceived:
    """The executor to which a task was offered answered."""

    task: Digest
    reply: Reply
    content: bytes


@dataclass(frozen=True, slots=True)
class ExchangeLost:
    """The executor could not be reached, or the stream to it ended without a last reply."""

    task: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class WorkDone:
    """The backend finished. `nonce` is fresh randomness for the receipt."""

    task: Digest
    output: bytes
    model_hash: bytes
    usage: Usage
    nonce: bytes


@dataclass(frozen=True, slots=True)
class WorkFailed:
    """The backend could not do it."""

    task: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class TransactRefused:
    """The transaction of a `Transact` effect was refused, dropped, or failed when it was executed."""

    operation: Operation
    reason: str


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer set by an effect ran out."""

    name: str


TaskEvent = (
    Started
    | Asked
    | SubmitRefused
    | Cancelled
    | NobodyElse
    | LedgerChanged
    | OfferReceived
    | CountersignReceived
    | ReplyReceived
    | ExchangeLost
    | WorkDone
    | WorkFailed
    | TransactRefused
    | TimerFired
)


@dataclass(frozen=True, slots=True)
class Transact:
    """Sign and submit an operation from this node's account; what fails comes back as `TransactRefused`."""

    operation: Operation


@dataclass(frozen=True, slots=True)
class OfferTo:
    """Open a stream to the executor and offer the task.

    Comes back as `ReplyReceived` up to a last reply, or as `ExchangeLost`.
    """

    executor: NodeId
    offer: Offer
    content: bytes


@dataclass(frozen=True, slots=True)
class Work:
    """Let the backend do the task; comes back as `WorkDone` or `WorkFailed`."""

    task: Digest
    kind: str
    content: bytes
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Reply on the newest stream on which this peer offered the task; lost if there is none."""

    peer: NodeId
    task: Digest
    reply: Reply
    content: bytes = b""


TaskEffect = Persist | SetTimer | CancelTimer | Notify | Transact | OfferTo | Work | Answer
