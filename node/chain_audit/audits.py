"""An audit for scripts and one for programs: the conversations of `questions.py`, held with a client's node.

    with client.audit(Path("audit"), genesis) as audit:
        audit.catch_up()
        print(audit.leaderboard().view.leaders)

What the methods return is the auditor's own answer; they raise `AuditError` where the node's differs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self, TypeVar

import anyio

from consensus.ledger.records import TaskState
from gossip.codec import Digest
from node.chain_audit.copy import Copy, Opening
from node.chain_audit.questions import Audited, Compared, Questions
from node.conversations import Conversation
from node.views.lists import (
    AccountsView,
    ActiveValidatorView,
    EventsView,
    FairnessView,
    LeaderboardView,
    ReputationsView,
    ReputationView,
    TaskRowsView,
    TransactionsView,
)
from node.views.records import ParametersView, RegistryView, ValidatorsView

_T = TypeVar("_T")

_PAGE = 20


class Hold(Protocol):
    """Holds a conversation in this thread."""

    def __call__(self, conversation: Conversation[_T]) -> _T:
        """To its end."""


class HoldBeside(Protocol):
    """Holds a conversation under an event loop."""

    async def __call__(self, conversation: Conversation[_T], *, in_thread: bool = False) -> _T:
        """To its end; the thinking in a thread, if wanted."""


def _silent(_: Compared) -> None:
    pass


class Audit:
    """For scripts; use it with `with`. One at a time in a directory."""

    def __init__(self, hold: Hold, opening: Opening) -> None:
        self._hold, self._opening = hold, opening

    def __enter__(self) -> Self:
        self._copy = Copy(self._opening)
        self._questions = Questions(self._copy)
        return self

    def __exit__(self, *_: object) -> None:
        self._copy.close()

    @property
    def height(self) -> int:
        """All blocks up to this one have been checked and executed."""
        return self._questions.height

    @property
    def epoch(self) -> int:
        """Whose validators must have committed the next block."""
        return self._copy.epoch

    @property
    def state_root(self) -> Digest:
        """The root of the ledger's state after that block."""
        return self._copy.state_root

    def catch_up(self) -> int:
        """Check and execute all blocks that the node has now; where the audit stands then."""
        return self._hold(self._questions.catch_up())

    def leaderboard(self, limit: int = _PAGE, after: str | None = None) -> Audited[LeaderboardView]:
        """Who earned the most by tasks."""
        return self._hold(self._questions.leaderboard(limit, after))

    def reputations(self, limit: int = _PAGE, after: str | None = None) -> Audited[ReputationsView]:
        """How nodes have done, the best first."""
        return self._hold(self._questions.reputations(limit, after))

    def reputation(self, node: bytes) -> Audited[ReputationView]:
        """How one node has done."""
        return self._hold(self._questions.reputation(node))

    def fairness(self) -> Audited[FairnessView]:
        """How evenly rewards fall."""
        return self._hold(self._questions.fairness())

    def active_validators(self) -> Audited[list[ActiveValidatorView]]:
        """Who votes, the strongest first."""
        return self._hold(self._questions.active_validators())

    def validators(self) -> Audited[ValidatorsView]:
        """Who decides the next block."""
        return self._hold(self._questions.validators())

    def registry(self) -> Audited[RegistryView]:
        """All validators and candidates with what is bound to them."""
        return self._hold(self._questions.registry())

    def parameters(self) -> Audited[ParametersView]:
        """The constants in force."""
        return self._hold(self._questions.parameters())

    def accounts(self, limit: int = _PAGE, after: str | None = None) -> Audited[AccountsView]:
        """A page of all accounts, the richest first."""
        return self._hold(self._questions.accounts(limit, after))

    def transactions(
        self, account: bytes | None = None, limit: int = _PAGE, after: str | None = None
    ) -> Audited[TransactionsView]:
        """A page of executed transactions, newest first: all, or those that name an account."""
        return self._hold(self._questions.transactions(account, limit, after))

    def ledger_tasks(
        self,
        *,
        state: TaskState | None = None,
        owner: bytes | None = None,
        executor: bytes | None = None,
        limit: int = _PAGE,
        after: str | None = None,
    ) -> Audited[TaskRowsView]:
        """A page of tasks, newest first, by one of state, owner and executor."""
        talk = self._questions.ledger_tasks(
            limit, after, state=state, owner=owner, executor=executor
        )
        return self._hold(talk)

    def event_log(self, after: str = "0", limit: int = 100) -> Audited[EventsView]:
        """A page of the event log, oldest first."""
        return self._hold(self._questions.event_log(after, limit))

    def everything(
        self, *, whole: bool = False, tell: Callable[[Compared], None] = _silent
    ) -> tuple[Compared, ...]:
        """All lists, their first pages or `whole`; `tell` hears of each."""
        return self._hold(self._questions.everything(whole=whole, tell=tell))


class AsyncAudit:
    """The same under Trio or asyncio, with `async with`; what is checked is checked in a thread."""

    def __init__(self, hold: HoldBeside, opening: Opening) -> None:
        self._hold, self._opening = hold, opening

    async def __aenter__(self) -> Self:
        self._copy = await anyio.to_thread.run_sync(Copy, self._opening)
        self._questions = Questions(self._copy)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._copy.close()

    @property
    def height(self) -> int:
        """All blocks up to this one have been checked and executed."""
        return self._questions.height

    @property
    def epoch(self) -> int:
        """Whose validators must have committed the next block."""
        return self._copy.epoch

    @property
    def state_root(self) -> Digest:
        """The root of the ledger's state after that block."""
        return self._copy.state_root

    async def catch_up(self) -> int:
        """Check and execute all blocks that the node has now; where the audit stands then."""
        return await self._hold(self._questions.catch_up(), in_thread=True)

    async def leaderboard(
        self, limit: int = _PAGE, after: str | None = None
    ) -> Audited[LeaderboardView]:
        """Who earned the most by tasks."""
        return await self._hold(self._questions.leaderboard(limit, after), in_thread=True)

    async def reputations(
        self, limit: int = _PAGE, after: str | None = None
    ) -> Audited[ReputationsView]:
        """How nodes have done, the best first."""
        return await self._hold(self._questions.reputations(limit, after), in_thread=True)

    async def reputation(self, node: bytes) -> Audited[ReputationView]:
        """How one node has done."""
        return await self._hold(self._questions.reputation(node), in_thread=True)

    async def fairness(self) -> Audited[FairnessView]:
        """How evenly rewards fall."""
        return await self._hold(self._questions.fairness(), in_thread=True)

    async def active_validators(self) -> Audited[list[ActiveValidatorView]]:
        """Who votes, the strongest first."""
        return await self._hold(self._questions.active_validators(), in_thread=True)

    async def validators(self) -> Audited[ValidatorsView]:
        """Who decides the next block."""
        return await self._hold(self._questions.validators(), in_thread=True)

    async def registry(self) -> Audited[RegistryView]:
        """All validators and candidates with what is bound to them."""
        return await self._hold(self._questions.registry(), in_thread=True)

    async def parameters(self) -> Audited[ParametersView]:
        """The constants in force."""
        return await self._hold(self._questions.parameters(), in_thread=True)

    async def accounts(self, limit: int = _PAGE, after: str | None = None) -> Audited[AccountsView]:
        """A page of all accounts, the richest first."""
        return await self._hold(self._questions.accounts(limit, after), in_thread=True)

    async def transactions(
        self, account: bytes | None = None, limit: int = _PAGE, after: str | None = None
    ) -> Audited[TransactionsView]:
        """A page of executed transactions, newest first: all, or those that name an account."""
        return await self._hold(self._questions.transactions(account, limit, after), in_thread=True)

    async def ledger_tasks(
        self,
        *,
        state: TaskState | None = None,
        owner: bytes | None = None,
        executor: bytes | None = None,
        limit: int = _PAGE,
        after: str | None = None,
    ) -> Audited[TaskRowsView]:
        """A page of tasks, newest first, by one of state, owner and executor."""
        talk = self._questions.ledger_tasks(
            limit, after, state=state, owner=owner, executor=executor
        )
        return await self._hold(talk, in_thread=True)

    async def event_log(self, after: str = "0", limit: int = 100) -> Audited[EventsView]:
        """A page of the event log, oldest first."""
        return await self._hold(self._questions.event_log(after, limit), in_thread=True)

    async def everything(
        self, *, whole: bool = False, tell: Callable[[Compared], None] = _silent
    ) -> tuple[Compared, ...]:
        """All lists, their first pages or `whole`; `tell` hears of each."""
        return await self._hold(self._questions.everything(whole=whole, tell=tell), in_thread=True)
