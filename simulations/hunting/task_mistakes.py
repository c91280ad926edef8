"""Mistakes in the cores of tasks, as `mistakes.py` has them for consensus: each is found by `tasks/oracles.py`."""

# ruff: noqa: ANN401, SLF001, D103 - a mutant reaches into what it breaks; `MISTAKES` says what each one is
from __future__ import annotations

from typing import Any

from msgspec import structs

import consensus.ledger.applying
import consensus.ledger.tasks
from consensus.ledger.accounts import credit
from consensus.ledger.records import TaskState
from consensus.ledger.tables import TASKS
from gossip.effects import Persist
from inference.asker import Asker, Stage
from inference.executor import Executor
from simulations.hunting.mistakes import Patch


def output_before_claim() -> list[Patch]:
    sound = Executor.on_work_done

    def on_work_done(self: Executor, now_ms: int, event: Any) -> Any:
        out = sound(self, now_ms, event)
        job = self._jobs.get(event.task)
        if job is None or not isinstance(job.outcome, tuple):
            return out
        del self._jobs[event.task]
        return [*out, *self._hand_over(now_ms, event.task, job.asker, *job.outcome)]

    return [(Executor, "on_work_done", on_work_done)]


def outputs_not_compared() -> list[Patch]:
    def on_settled(self: Asker, now_ms: int, record: Any, known: Any) -> Any:
        if record.receipt is None:
            return self._offer(now_ms, record)
        self._asked[record.task] = structs.replace(record, receipt=known.receipt)
        return self._end(record.task, Stage.SETTLED, "")

    return [(Asker, "_on_settled", on_settled)]


def outputs_not_checked() -> list[Patch]:
    return [(Asker, "_fault_of", lambda *_: None)]


def never_taken_back() -> list[Patch]:
    return [(Asker, "_take_back", lambda *_: [])]


def outputs_not_kept() -> list[Patch]:
    sound = Executor._hand_over

    def hand_over(self: Executor, *arguments: Any) -> Any:
        return [one for one in sound(self, *arguments) if not isinstance(one, Persist)]

    return [(Executor, "_hand_over", hand_over)]


def worked_on_twice() -> list[Patch]:
    sound = Executor.on_offer

    def on_offer(self: Executor, now_ms: int, offered: Any) -> Any:
        known = self._ledger_task(offered.offer.task)
        if known is not None and offered.offer.task in self._jobs:
            queued = structs.replace(known, state=TaskState.QUEUED, executor=None)
            return self._judge(now_ms, offered, queued)
        return sound(self, now_ms, offered)

    return [(Executor, "on_offer", on_offer)]


def refunded_and_open() -> list[Patch]:
    sound = consensus.ledger.tasks.fail_task

    def fail_task(draft: Any, context: Any, operation: Any) -> Any:
        task = draft.get(TASKS, operation.task)
        refusal = sound(draft, context, operation)
        if refusal is None and task.state is TaskState.ASSIGNED and task.group is None:
            credit(draft, task.submitter, task.reward)
        return refusal

    return [(consensus.ledger.applying, "fail_task", fail_task)]


def lost_claims_kept() -> list[Patch]:
    sound = Executor._go_on

    def go_on(self: Executor, now_ms: int, task: Any, lack: str = "") -> Any:
        if task not in self._jobs and task not in self._kept:
            return []
        return sound(self, now_ms, task, lack)

    def take_back(self: Asker, now_ms: int, task: Any, known: Any) -> Any:
        return [] if known.state is TaskState.ASSIGNED else taken(self, now_ms, task, known)

    taken = Asker._take_back
    return [(Executor, "_go_on", go_on), (Asker, "_take_back", take_back)]
