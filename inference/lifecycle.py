"""The life of a task on the two nodes that work on it, as a pure core: `handle(now_ms, event) -> effects`.

    asker                                                              executor
      | note the task on disk, hand in SubmitTask                          |
      |              ledger: queued, the reward is in escrow               |
      | -- offer with the input ------------------------------------------>| compares it with the ledger
      | <- accepted -------------------------------------------------------| hands in ClaimTask, begins to work
      |              ledger: assigned                                      | the output waits for this
      | <- output with signed receipt -------------------------------------| keeps both, waits 2 s at most
      | keeps both, countersigns ----------------------------------------->| hands in SettleTask, or CompleteTask
      |              ledger: settled, the executor is paid                 |
      | shows the task as settled                                          |

Both sides are in `TaskDesk`: `inference/asker.py` and `inference/executor.py`. A node that executes its own task is its
own peer: its offers and answers are handed across here, and the rest is the same.

Failures. What nobody claimed, its asker takes back at once; what was claimed is given back by its executor, or taken
back by its asker after the deadline. What an executor declined, or was not reached for, goes to another node if it was
not named by the user (`node/work/takeovers.py`). A stream that breaks after the task was accepted is opened again, and
the executor gives the output that it kept. What each side has to do is read from record and ledger, so a restart on
either side resumes by looking.

A member of a group of tasks is a task like any other until its work is done; `group_work.py` tells the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import assert_never

from consensus.ledger.records import Task
from consensus.operations.groups import AttestGroup, CommitResult
from consensus.operations.transactions import ClaimTask, CompleteTask, FailTask
from gossip.codec import Digest
from gossip.effects import KeyValueReader
from gossip.identity import NodeId, Signer, Verifier
from inference.asker import AskedTask, Asker
from inference.desk_events import (
    Answer,
    Asked,
    Cancelled,
    CountersignReceived,
    ExchangeLost,
    LedgerChanged,
    NobodyElse,
    OfferReceived,
    OfferTo,
    ReplyReceived,
    Started,
    SubmitRefused,
    TaskEffect,
    TaskEvent,
    TimerFired,
    TransactRefused,
    WorkDone,
    WorkFailed,
)
from inference.executor import Executor
from inference.group_work import GroupView


class TaskDesk:
    """All tasks that this node asked for or works on.

    `own_tasks` lists the open tasks on the ledger that this node submitted or claimed; `unable` is
    the executor's.
    """

    def __init__(
        self,
        *,
        chain: Digest,
        signer: Signer,
        verifier: Verifier,
        serves: Callable[[str], bool],
        ledger: GroupView,
        own_tasks: Callable[[], list[tuple[Digest, Task]]],
        reader: KeyValueReader,
        unable: Callable[[str, bytes, int], str | None] | None = None,
    ) -> None:
        self._own = NodeId(signer.public)
        self._ledger_task, self._own_tasks = ledger.task, own_tasks
        self._asker = Asker(
            chain=chain, signer=signer, verifier=verifier, ledger=ledger, reader=reader
        )
        self._executor = Executor(
            chain=chain,
            signer=signer,
            verifier=verifier,
            serves=serves,
            ledger=ledger,
            reader=reader,
            unable=unable,
        )

    def asked(self) -> list[AskedTask]:
        """The tasks that this node asked for, newest first."""
        return self._asker.asked()

    def movable(self) -> list[AskedTask]:
        """Own tasks that another node may take over now, oldest first."""
        return self._asker.movable()

    def was_declined(self, task: Digest) -> bool:
        """Whether its executor will not do a task that may move."""
        return self._asker.was_declined(task)

    def find(self, task: Digest) -> AskedTask | None:
        """One of this node's own tasks."""
        return self._asker.find(task)

    def input(self, task: Digest) -> bytes | None:
        """The canonical input of an own task, while it is kept."""
        return self._asker.input(task)

    def output(self, task: Digest) -> bytes | None:
        """The canonical output of an own task, once it has come and while it is kept."""
        return self._asker.output(task)

    def countersignature(self, task: Digest) -> bytes | None:
        """The asker's signature under the receipt of a task, whichever side of it this node is."""
        record = self._asker.find(task)
        if record is not None and record.countersignature is not None:
            return record.countersignature
        return self._executor.countersignature(task)

    @property
    def in_hand(self) -> int:
        """How many tasks this node works on."""
        return self._executor.in_hand

    def handle(self, now_ms: int, event: TaskEvent) -> list[TaskEffect]:
        """Take one event; the effects are carried out in order."""
        return self._across(now_ms, self._handle(now_ms, event))

    def _handle(self, now_ms: int, event: TaskEvent) -> list[TaskEffect]:
        asker, executor = self._asker, self._executor
        match event:
            case Started():
                own = self._own_tasks()
                return [*executor.on_started(now_ms, own), *asker.on_started(now_ms, own)]
            case Asked():
                return asker.on_asked(now_ms, event)
            case SubmitRefused():
                return asker.on_submit_refused(event.task, event.reason)
            case Cancelled():
                return asker.on_cancelled(now_ms, event.task)
            case NobodyElse():
                return asker.on_nobody_else(now_ms, event.task)
            case LedgerChanged():
                now = self._ledger_task(event.task)
                out = [] if now is None else executor.on_ledger(now_ms, event.task, now)
                return [*out, *asker.on_ledger(now_ms, event)]
            case ReplyReceived():
                return asker.on_reply(now_ms, event)
            case ExchangeLost():
                return asker.on_lost(now_ms, event.task, event.reason)
            case OfferReceived() | CountersignReceived() | WorkDone() | WorkFailed():
                return self._on_executing(now_ms, event)
            case TransactRefused():
                return self._on_refused(now_ms, event)
            case TimerFired(name):
                side = asker if name.partition("/")[0] in Asker.TIMERS else executor
                return side.on_timer(now_ms, name)
            case _:
                assert_never(event)

    def _on_executing(
        self, now_ms: int, event: OfferReceived | CountersignReceived | WorkDone | WorkFailed
    ) -> list[TaskEffect]:
        match event:
            case OfferReceived():
                return self._executor.on_offer(now_ms, event)
            case CountersignReceived():
                return self._executor.on_countersigned(event)
            case WorkDone():
                return self._executor.on_work_done(now_ms, event)
            case WorkFailed():
                return self._executor.on_work_failed(now_ms, event)
            case _:
                assert_never(event)

    def _on_refused(self, now_ms: int, event: TransactRefused) -> list[TaskEffect]:
        match event.operation:
            case ClaimTask() | CommitResult() | CompleteTask() as operation:
                return self._executor.on_refused(operation, event.reason)
            case FailTask() as operation:
                out = self._executor.on_refused(operation, event.reason)
                return [*out, *self._asker.on_refused(now_ms, operation)]
            case AttestGroup() as operation:
                return self._asker.on_attest_refused(operation)
            case _:
                return []

    def _across(self, now_ms: int, effects: list[TaskEffect]) -> list[TaskEffect]:
        """Hand offers and answers of this node to itself over to its other side.

        What that leads to stands behind all effects that were there before: in front of them an older record of a task
        would be written over a newer one.
        """
        out: list[TaskEffect] = []
        waiting = deque(effects)
        while waiting:
            match waiting.popleft():
                case OfferTo() as effect if effect.executor == self._own:
                    offered = OfferReceived(self._own, effect.offer, effect.content)
                    waiting += self._executor.on_offer(now_ms, offered)
                case Answer() as effect if effect.peer == self._own:
                    reply = ReplyReceived(effect.task, effect.reply, effect.content)
                    waiting += self._asker.on_reply(now_ms, reply)
                case effect:
                    out.append(effect)
        return out

    def check_invariants(self) -> None:
        """What must hold after every event."""
        self._asker.check_invariants()
        self._executor.check_invariants()
