"""Answers from the projections, made for callers; each says which subjects it was made of, so that it can be cached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from consensus.ledger.event_log import Cursor, EventLog, Logged
from consensus.ledger.records import TaskState
from consensus.projections import accounts, tasks, transactions, validators, work
from consensus.projections.rows import SUBJECT_BYTES
from gossip.effects import KeyValueReader
from gossip.json_form import to_json_value
from node.chain.projector import Projector
from node.views.lists import (
    AccountRowView,
    AccountsView,
    ActiveValidatorView,
    EventsView,
    EventView,
    FairnessView,
    LeaderboardView,
    LeaderView,
    ProjectionsView,
    ProjectionView,
    ReputationsView,
    ReputationView,
    TaskRowsView,
    TransactionRowView,
    TransactionsView,
)
from node.views.records import TaskView

V = TypeVar("V")

_BEYOND = 10_000


@dataclass(frozen=True, slots=True)
class Made(Generic[V]):
    """An answer and what it was made of."""

    view: V
    projection: str
    height: int
    """It is the answer after this block."""
    subjects: tuple[bytes, ...]
    """Whose rows it was made of."""


class ReadModels:
    """One method for each question. `name_of` tells what a node calls itself, if anybody knows."""

    def __init__(
        self,
        projector: Projector,
        chain: KeyValueReader,
        name_of: Callable[[bytes], str | None],
    ) -> None:
        self.projector = projector
        self._log = EventLog(chain)
        self._name_of = name_of

    def accounts(self, after: bytes | None, limit: int) -> Made[AccountsView]:
        """The richest first."""
        reader = self.projector.reader("accounts")
        found, following = accounts.richest(reader, after, limit)
        rows = tuple(
            AccountRowView(id=owner.hex(), balance=str(one.balance), nonce=one.nonce)
            for owner, one in found
        )
        view = AccountsView(accounts=rows, next=_shown(following))
        return Made(view, "accounts", reader.height, (b"a", b"b"))

    def transactions(
        self, party: bytes | None, after: bytes | None, limit: int
    ) -> Made[TransactionsView]:
        """The newest first: all, or those that name an account."""
        reader = self.projector.reader("transactions")
        found, following = transactions.newest(reader, party, after, limit)
        rows = tuple(
            TransactionRowView(
                tx_hash=one.transaction.hex(),
                status="finalized" if one.code.value == "ok" else "failed",
                sender=one.sender.hex(),
                height=one.height,
                timestamp_ms=one.time_ms,
                code=one.code.value,
            )
            for one in found
        )
        subject = b"t" if party is None else b"p" + party
        view = TransactionsView(transactions=rows, next=_shown(following))
        return Made(view, "transactions", reader.height, (subject,))

    def active_validators(self, limit: int) -> Made[list[ActiveValidatorView]]:
        """The strongest first."""
        reader = self.projector.reader("validators")
        found, _ = validators.strongest(reader, None, limit)
        rows = []
        for rank, (node, seat) in enumerate(found, 1):
            backing = validators.backing(reader, node) or validators.Backing("", 0, 0)
            rows.append(
                ActiveValidatorView(
                    id=node.hex(),
                    name=backing.name or self._name_of(node) or "",
                    stake=str(backing.own + backing.delegated),
                    rank=rank,
                    power=seat.power,
                    delegated=str(backing.delegated),
                    since_epoch=seat.since_epoch,
                )
            )
        return Made(rows, "validators", reader.height, (b"r", b"k"))

    def tasks(
        self,
        state: TaskState | None,
        owner: bytes | None,
        executor: bytes | None,
        after: bytes | None,
        limit: int,
    ) -> Made[TaskRowsView]:
        """Tasks on the ledger, newest first, by one of state, owner and executor."""
        listed, reader = tasks.subject(state, owner, executor), self.projector.reader("tasks")
        found, following = tasks.newest(reader, listed, after, limit)
        rows = tuple(
            TaskView(
                task_id=name.hex(),
                kind=row.kind,
                status=row.state.value,
                executor=None if row.executor is None else row.executor.hex(),
                tx_hash=row.transaction.hex(),
                height=row.height,
            )
            for name, row in found
        )
        view = TaskRowsView(tasks=rows, next=_shown(following))
        return Made(view, "tasks", reader.height, (listed[:SUBJECT_BYTES],))

    def leaderboard(self, after: bytes | None, limit: int) -> Made[LeaderboardView]:
        """Who earned the most by tasks."""
        reader = self.projector.reader("leaderboard")
        found, following = work.leaders(reader, after, limit)
        rows = tuple(
            LeaderView(
                id=node.hex(),
                name=self._name_of(node) or "",
                earned=str(one.total),
                tasks=one.tasks,
            )
            for node, one in found
        )
        view = LeaderboardView(leaders=rows, next=_shown(following))
        return Made(view, "leaderboard", reader.height, (b"l",))

    def reputations(self, after: bytes | None, limit: int) -> Made[ReputationsView]:
        """The best conduct first."""
        reader = self.projector.reader("reputation")
        found, following = work.reputed(reader, after, limit)
        rows = tuple(self._reputation(node, one) for node, one in found)
        view = ReputationsView(nodes=rows, next=_shown(following))
        return Made(view, "reputation", reader.height, (b"l",))

    def reputation(self, node: bytes) -> Made[ReputationView]:
        """One node's conduct; without any ended task it has the middle score."""
        reader = self.projector.reader("reputation")
        known = work.conduct(reader, node) or work.Conduct()
        view = self._reputation(node, known)
        return Made(view, "reputation", reader.height, (b"e" + node,))

    def _reputation(self, node: bytes, one: work.Conduct) -> ReputationView:
        return ReputationView(
            id=node.hex(),
            name=self._name_of(node) or "",
            score=one.score,
            settled=one.settled,
            failed=one.failed,
        )

    def fairness(self) -> Made[FairnessView]:
        """How evenly rewards fall."""
        reader = self.projector.reader("fairness")
        found = work.fairness(reader)
        view = FairnessView(gini=found.gini, members=found.members, total=str(found.total))
        return Made(view, "fairness", reader.height, (b"l",))

    def projections(self) -> ProjectionsView:
        """The read models themselves."""
        rows = tuple(
            ProjectionView(
                name=one.name,
                version=one.version,
                height=one.height,
                rebuilt_to=one.rebuilt_to,
            )
            for one in self.projector.standing()
        )
        return ProjectionsView(projections=rows)

    def events(self, after: Cursor, until_height: int, limit: int) -> EventsView:
        """The log itself, oldest first; `next` is the last one's place, to go on from."""
        found: list[EventView] = []
        for logged in self._log.after(after, min(until_height, after.height + _BEYOND)):
            found.append(event_view(logged))
            if len(found) == limit:
                break
        last = found[-1].cursor if found else str(after)
        return EventsView(events=tuple(found), next=last)


def event_view(logged: Logged) -> EventView:
    """An event of the log as it is shown."""
    return EventView(
        cursor=str(logged.place),
        kind=logged.kind,
        version=logged.version,
        timestamp_ms=logged.time_ms,
        correlation=logged.correlation.hex(),
        causation=None if logged.causation is None else str(logged.causation),
        data=to_json_value(logged.event),
    )


def _shown(following: bytes | None) -> str | None:
    return None if following is None else following.hex()
