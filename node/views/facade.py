"""The one thing that the HTTP interface asks: what a node must be able to answer and to do.

Questions answer at once from memory and the store; deeds wait for what they need. The gateway has
authenticated the caller and checked the form of everything before it calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from consensus.mempool import Added, Refused
from consensus.operations.transactions import Transaction
from gossip.codec import Digest
from gossip.identity import NodeId
from inference.kinds import TaskInput
from node.errors import NodeError
from node.views.records import (
    AccountView,
    AdmissionView,
    BlocksView,
    BlockView,
    InviteView,
    JsonObject,
    PeerView,
    RegistrationView,
    StatusView,
    TasksView,
    TaskView,
    TransactionView,
    ValidatorsView,
)

MIN_DEADLINE_S, MAX_DEADLINE_S = 2, 24 * 60 * 60
"""What a task's `deadline_s` may be."""


class Problem(NodeError):  # noqa: N818 - the word of RFC 9457
    """A request can't be done; told to the caller as problem+json.

    `status` is the HTTP status, `code` a word for programs, `title` a few words for the kind of
    problem, `detail` a sentence with the next step. `retry_after_s` says when to try again.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        title: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.title = title or code.replace("_", " ").capitalize()
        self.retry_after_s = retry_after_s


class Named(Enum):
    """What can be asked for by a prefix of its id."""

    TRANSACTION = "transaction"
    BLOCK = "block"
    ACCOUNT = "account"
    TASK = "task"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A task to hand in. None leaves the choice to the node.

    `deadline_s` is after how many seconds its asker may take back the reward of an executor that never finished.
    """

    input: TaskInput
    executor: NodeId | None = None
    reward: int | None = None
    deadline_s: int | None = None


class Facade(Protocol):
    """A running node, as the gateway sees it. Deeds raise `Problem`."""

    @property
    def chain_id(self) -> Digest:
        """What signatures here must name: the federation's id."""

    def not_ready(self) -> str | None:
        """Why the node can't serve yet, or None: no federation, catching up, no quorum in reach."""

    def status(self) -> StatusView:
        """The node at a glance."""

    def find(self, what: Named, prefix: str) -> Sequence[str]:
        """Some of the ids that begin with these hex digits: all if there are at most five."""

    def transaction(self, tx_hash: Digest) -> TransactionView | None:
        """Where a transaction stands, or None if this node has never seen it."""

    def receipt(self, tx_hash: Digest) -> JsonObject | None:
        """What `verify` takes as proof of a transaction; None until its outcome is certified."""

    def account(self, owner: bytes) -> AccountView | None:
        """An account, or None if it never received anything."""

    async def account_proof(self, owner: bytes) -> JsonObject | None:
        """What `verify` takes as proof of an account's content or absence; None if no state is certified."""

    async def state_proof(self, key: bytes) -> JsonObject | None:
        """The same of any record of the ledger's state."""

    async def states_proof(self, keys: Sequence[bytes]) -> JsonObject | None:
        """The same of several, all after one block."""

    def block_proof(self, height: int) -> JsonObject | None:
        """What `verify` takes as proof that a block was committed; None if its epoch is not certified."""

    def block(self, which: int | Digest) -> BlockView | None:
        """The block at a height or with a hash."""

    def blocks(self, before: int | None, limit: int) -> BlocksView:
        """The newest blocks below height `before`, or the newest of all."""

    def validators(self) -> ValidatorsView:
        """Who decides the next block."""

    def peers(self) -> tuple[PeerView, ...]:
        """The peer table."""

    def applicants(self) -> tuple[PeerView, ...]:
        """The nodes that ask to be let in."""

    def task(self, task_id: Digest) -> TaskView | None:
        """A task; its output if this node asked for it."""

    def tasks(self, limit: int) -> TasksView:
        """The newest tasks, without their outputs."""

    async def submit(self, transactions: Sequence[Transaction]) -> Sequence[Added | Refused]:
        """Hand transactions whose signatures have been checked to the mempool."""

    async def transfer(self, to: bytes, amount: int) -> TransactionView:
        """Pay from this node's own account; returns when the transaction waits."""

    async def invite(self, ttl_ms: int) -> InviteView:
        """Make an invite for one node."""

    async def admit(self, node_id: NodeId, *, validator: bool) -> AdmissionView:
        """Let a node in, or speak for it as a validator; returns when the transaction waits."""

    async def register_validator(self, name: str, stake: int) -> RegistrationView:
        """Ask for a seat for this node; returns when the stake is reserved on the ledger."""

    async def submit_task(self, request: TaskRequest) -> TaskView:
        """Hand in a task; returns when it has its id."""

    async def cancel_task(self, task_id: Digest) -> TaskView:
        """Take back a task of this node that nobody works on."""
