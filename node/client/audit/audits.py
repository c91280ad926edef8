"""An audit for scripts and one for programs: the conversations of `questions.py`, held with a client's node.

    with client.audit(Path("audit"), genesis) as audit:
        audit.catch_up()
        print(audit.leaderboard().view.leaders)

What the methods return is the auditor's own answer; they raise `AuditError` where the node's differs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, Self, TypeVar

import anyio

from gossip.codec import Digest
from node.client.audit.copy import Copy, Opening
from node.client.audit.questions import Questions
from node.client.conversations import Conversation

_T = TypeVar("_T")
_P = ParamSpec("_P")


class Hold(Protocol):
    """Holds a conversation in this thread."""

    def __call__(self, conversation: Conversation[_T]) -> _T:
        """To its end."""


class HoldBeside(Protocol):
    """Holds a conversation under an event loop."""

    async def __call__(self, conversation: Conversation[_T], *, in_thread: bool = False) -> _T:
        """To its end; the thinking in a thread, if wanted."""


def _held(
    ask: Callable[Concatenate[Questions, _P], Conversation[_T]],
) -> Callable[Concatenate[Audit, _P], _T]:
    @wraps(ask)
    def method(self: Audit, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self.hold(ask(self.questions, *args, **kwargs))

    return method


def _held_beside(
    ask: Callable[Concatenate[Questions, _P], Conversation[_T]],
) -> Callable[Concatenate[AsyncAudit, _P], Awaitable[_T]]:
    @wraps(ask)
    async def method(self: AsyncAudit, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await self.hold(ask(self.questions, *args, **kwargs), in_thread=True)

    return method


class _Following:
    """How far an audit is."""

    copy: Copy
    questions: Questions

    @property
    def height(self) -> int:
        """All blocks up to this one have been checked and executed."""
        return self.questions.height

    @property
    def epoch(self) -> int:
        """Whose validators must have committed the next block."""
        return self.copy.epoch

    @property
    def state_root(self) -> Digest:
        """The root of the ledger's state after that block."""
        return self.copy.state_root


class Audit(_Following):
    """For scripts; use it with `with`. One at a time in a directory."""

    def __init__(self, hold: Hold, opening: Opening) -> None:
        self.hold, self._opening = hold, opening

    def __enter__(self) -> Self:
        self.copy = Copy(self._opening)
        self.questions = Questions(self.copy)
        return self

    def __exit__(self, *_: object) -> None:
        self.copy.close()

    def catch_up(self) -> int:
        """Check and execute all blocks that the node has now; where the audit stands then."""
        return self.hold(self.questions.catch_up())

    leaderboard = _held(Questions.leaderboard)
    reputations = _held(Questions.reputations)
    reputation = _held(Questions.reputation)
    fairness = _held(Questions.fairness)
    active_validators = _held(Questions.active_validators)
    validators = _held(Questions.validators)
    registry = _held(Questions.registry)
    parameters = _held(Questions.parameters)
    accounts = _held(Questions.accounts)
    transactions = _held(Questions.transactions)
    ledger_tasks = _held(Questions.ledger_tasks)
    event_log = _held(Questions.event_log)
    everything = _held(Questions.everything)


class AsyncAudit(_Following):
    """The same under Trio or asyncio, with `async with`; what is checked is checked in a thread."""

    def __init__(self, hold: HoldBeside, opening: Opening) -> None:
        self.hold, self._opening = hold, opening

    async def __aenter__(self) -> Self:
        self.copy = await anyio.to_thread.run_sync(Copy, self._opening)
        self.questions = Questions(self.copy)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.copy.close()

    async def catch_up(self) -> int:
        """Check and execute all blocks that the node has now; where the audit stands then."""
        return await self.hold(self.questions.catch_up(), in_thread=True)

    leaderboard = _held_beside(Questions.leaderboard)
    reputations = _held_beside(Questions.reputations)
    reputation = _held_beside(Questions.reputation)
    fairness = _held_beside(Questions.fairness)
    active_validators = _held_beside(Questions.active_validators)
    validators = _held_beside(Questions.validators)
    registry = _held_beside(Questions.registry)
    parameters = _held_beside(Questions.parameters)
    accounts = _held_beside(Questions.accounts)
    transactions = _held_beside(Questions.transactions)
    ledger_tasks = _held_beside(Questions.ledger_tasks)
    event_log = _held_beside(Questions.event_log)
    everything = _held_beside(Questions.everything)
