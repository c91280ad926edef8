"""The life of a task on the two nodes that work on it, as a pure core: `handle(now_ms, event) -> effects`.

As asker: the task is on the ledger -> offered to its executor -> accepted -> the output comes with a signed receipt
-> the ledger settles it. As executor: an offer that the ledger confirms -> claimed on the ledger -> worked on -> output
and receipt go back, the receipt goes on the ledger and is paid. A node that executes its own task skips the offer.

What is asked, and what came of it, is on disk before it is told; after a restart an asker offers again what is open, an
executor gives back what it had claimed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from msgspec import structs

from consensus.records import Task, TaskState
from consensus.transactions import (
    ClaimTask,
    CompleteTask,
    FailTask,
    Operation,
    SignedReceipt,
    TaskReceipt,
    Usage,
    content_hash,
    sign_receipt,
)
from gossip.codec import Bytes32, Digest, Name, Natural, Sentence, Wire, decode, encode
from gossip.effects import KeyValueReader, Notify, Persist, SetTimer, Store
from gossip.identity import NodeId, Signer, Verifier
from inference.handoff import Accepted, Declined, Failed, Finished, Offer, Reply

CAPACITY = 8
"""Tasks of others in hand at once; what comes above is declined."""

_CONFIRM_MS = 10_000
_REASON_CHARS = 500
_OVERDUE_SLACK_MS = 1_000
_ASKED, _INPUT, _OUTPUT = b"asked/", b"input/", b"output/"


class Stage(Enum):
    """Where an asked task stands for its asker."""

    QUEUED = "queued"
    ASSIGNED = "assigned"
    RUNNING = "running"
    SETTLED = "settled"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN_STAGES = (Stage.QUEUED, Stage.ASSIGNED, Stage.RUNNING)


class AskedTask(Wire, frozen=True):
    """A task of this node's user. `receipt` came with the output; `reason` says why there is none.

    `last_tx` is the transaction that changed it last, executed at `last_height` (0: not yet).
    """

    task: Bytes32
    kind: Name
    executor: Bytes32
    deadline_ms: Natural
    last_tx: Bytes32
    last_height: Natural
    asked_at_ms: Natural
    stage: Stage
    reason: Sentence = ""
    receipt: SignedReceipt | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The node is up and its ledger is loaded."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A user's task; its transaction waits in the mempool. `content` is the canonical input."""

    task: Digest
    kind: str
    content: bytes
    executor: NodeId
    deadline_ms: int
    submit_tx: Digest


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
class LedgerChanged:
    """A transaction in a final block changed a task."""

    task: Digest
    now: Task
    transaction: bytes
    height: int


@dataclass(frozen=True, slots=True)
class OfferReceived:
    """A peer offers a task with its input."""

    peer: NodeId
    offer: Offer
    content: bytes


@dataclass(frozen=True, slots=True)
class ReplyReceived:
    """The executor answered."""

    task: Digest
    reply: Reply
    content: bytes


@dataclass(frozen=True, slots=True)
class ExchangeLost:
    """The executor could not be reached, or the stream to it broke."""

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
class TimerFired:
    """A timer set by an effect ran out."""

    name: str


TaskEvent = (
    Started
    | Asked
    | SubmitRefused
    | Cancelled
    | LedgerChanged
    | OfferReceived
    | ReplyReceived
    | ExchangeLost
    | WorkDone
    | WorkFailed
    | TimerFired
)


@dataclass(frozen=True, slots=True)
class Transact:
    """Sign and submit an operation from this node's account."""

    operation: Operation


@dataclass(frozen=True, slots=True)
class OfferTo:
    """Open a stream to the executor and offer the task."""

    executor: NodeId
    offer: Offer
    content: bytes


@dataclass(frozen=True, slots=True)
class Work:
    """Let the backend do the task."""

    task: Digest
    kind: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """Reply on the stream on which the task was offered."""

    task: Digest
    reply: Reply
    content: bytes


TaskEffect = Persist | SetTimer | Notify | Transact | OfferTo | Work | Answer


@dataclass(slots=True)
class _Job:
    """A task that this node works on. It is confirmed once the ledger shows it."""

    asker: NodeId
    kind: str
    content: bytes
    confirmed: bool = False
    claimed: bool = False


class TaskDesk:
    """All tasks that this node asked for or works on."""

    def __init__(
        self,
        *,
        chain: Digest,
        signer: Signer,
        verifier: Verifier,
        serves: Callable[[str], bool],
        ledger_task: Callable[[bytes], Task | None],
        own_claims: Callable[[], list[Digest]],
        reader: KeyValueReader,
    ) -> None:
        self._chain, self._signer, self._verifier = chain, signer, verifier
        self._own = NodeId(signer.public)
        self._serves, self._ledger_task, self._own_claims = serves, ledger_task, own_claims
        self._reader = reader
        self._jobs: dict[Digest, _Job] = {}
        self._asked: dict[Digest, AskedTask] = {}
        for _, value in reader.scan(_ASKED):
            record = decode(value, AskedTask)
            self._asked[Digest(record.task)] = record

    # What it is asked

    def asked(self) -> list[AskedTask]:
        """The tasks that this node asked for, newest first."""
        return sorted(self._asked.values(), key=lambda one: (-one.asked_at_ms, one.task))

    def find(self, task: Digest) -> AskedTask | None:
        """One of this node's own tasks."""
        return self._asked.get(task)

    def input(self, task: Digest) -> bytes | None:
        """The canonical input of an own task."""
        return self._reader.get(_INPUT + task)

    def output(self, task: Digest) -> bytes | None:
        """The canonical output of an own task, once it has come."""
        return self._reader.get(_OUTPUT + task)

    @property
    def in_hand(self) -> int:
        """How many tasks this node works on."""
        return len(self._jobs)

    # What it is told

    def handle(self, now_ms: int, event: TaskEvent) -> list[TaskEffect]:
        """Take one event; the effects are carried out in order."""
        match event:
            case Started():
                return self._on_started(now_ms)
            case Asked():
                return self._on_asked(now_ms, event)
            case SubmitRefused():
                return self._end(event.task, Stage.FAILED, event.reason)
            case Cancelled():
                return self._cancel(event.task)
            case LedgerChanged():
                return self._on_change(event)
            case OfferReceived():
                return self._on_offer(event)
            case ReplyReceived():
                return self._on_reply(event)
            case ExchangeLost():
                return self._give_up(event.task, event.reason)
            case WorkDone():
                return self._on_work_done(now_ms, event)
            case WorkFailed():
                return self._on_work_failed(event)
            case TimerFired():
                return self._on_timer(event.name)
            case _:
                assert_never(event)

    def _on_started(self, now_ms: int) -> list[TaskEffect]:
        """Take up again what is open; give back what was claimed and is forgotten."""
        out: list[TaskEffect] = []
        for record in self.asked():
            task = Digest(record.task)
            known = self._ledger_task(task)
            if known is not None and known.is_open:
                out.append(_overdue_timer(task, record.deadline_ms, now_ms))
            if record.stage in OPEN_STAGES:
                out += self._resume(record, known)
        out += (
            Transact(FailTask(task, "the executor restarted in the middle of the work"))
            for task in self._own_claims()
            if task not in self._jobs
        )
        return out

    def _resume(self, record: AskedTask, known: Task | None) -> list[TaskEffect]:
        task = Digest(record.task)
        if known is None:
            return self._end(task, Stage.FAILED, "lost by a restart before it was on the ledger")
        if known.state is TaskState.QUEUED:
            return self._place(record)
        if known.state is TaskState.ASSIGNED and record.receipt is None:
            return self._end(task, Stage.FAILED, "this node restarted before the output arrived")
        return self._on_ledger(task, known)

    # As asker

    def _on_asked(self, now_ms: int, event: Asked) -> list[TaskEffect]:
        record = AskedTask(
            event.task,
            event.kind,
            event.executor,
            event.deadline_ms,
            event.submit_tx,
            0,
            now_ms,
            Stage.QUEUED,
        )
        self._asked[event.task] = record
        writes = ((_ASKED + event.task, encode(record)), (_INPUT + event.task, event.content))
        return [
            Persist(Store.TASKS, writes),
            _overdue_timer(event.task, event.deadline_ms, now_ms),
        ]

    def _on_change(self, event: LedgerChanged) -> list[TaskEffect]:
        record = self._asked.get(event.task)
        out: list[TaskEffect] = []
        if record is not None:
            out += self._store(
                structs.replace(record, last_tx=event.transaction, last_height=event.height)
            )
        return out + self._on_ledger(event.task, event.now)

    def _on_ledger(self, task: Digest, now: Task) -> list[TaskEffect]:
        """The ledger's word on a task that this node asked for or works on."""
        out = self._job_on_ledger(task, now)
        record = self._asked.get(task)
        if record is None or record.stage not in OPEN_STAGES:
            return out
        match now.state:
            case TaskState.QUEUED if record.stage is Stage.QUEUED:
                out += self._place(record)
            case TaskState.QUEUED:
                pass
            case TaskState.ASSIGNED:
                if record.stage is Stage.QUEUED:
                    out += self._place(record)
                if self._asked[task].stage in (Stage.QUEUED, Stage.ASSIGNED):
                    out += self._keep(self._asked[task], Stage.RUNNING)
            case TaskState.SETTLED:
                if record.receipt is not None:
                    out += self._end(task, Stage.SETTLED, "")
                else:
                    reason = "settled on the ledger, but the output never reached this node"
                    out += self._end(task, Stage.FAILED, reason)
            case TaskState.FAILED:
                out += self._end(task, Stage.FAILED, record.reason or now.reason)
            case TaskState.CANCELLED:
                out += self._end(task, Stage.CANCELLED, record.reason or now.reason)
            case _:
                assert_never(now.state)
        return out

    def _place(self, record: AskedTask) -> list[TaskEffect]:
        task = Digest(record.task)
        content = self.input(task)
        if content is None:
            return self._give_up(task, "the input is gone from this node's disk")
        out = self._keep(record, Stage.ASSIGNED)
        if record.executor == self._own:
            return [*out, *self._take_job(task, _Job(self._own, record.kind, content))]
        offer = Offer(task, record.kind, len(content))
        return [*out, OfferTo(NodeId(record.executor), offer, content)]

    def _on_reply(self, event: ReplyReceived) -> list[TaskEffect]:
        record = self._asked.get(event.task)
        if record is None or record.stage not in OPEN_STAGES:
            return []
        match event.reply:
            case Accepted():
                return self._keep(record, Stage.RUNNING)
            case Declined(reason):
                return self._give_up(event.task, f"the executor declined: {reason}")
            case Failed(reason):
                return self._give_up(event.task, f"the executor failed: {reason}")
            case Finished(signed):
                return self._on_output(record, signed, event.content)
            case _:
                assert_never(event.reply)

    def _on_output(
        self, record: AskedTask, signed: SignedReceipt, content: bytes
    ) -> list[TaskEffect]:
        """Keep an output only if the executor signed for exactly it."""
        task, receipt = Digest(record.task), signed.receipt
        known = self._ledger_task(task)
        holds = (
            receipt.task == record.task
            and receipt.executor == record.executor
            and receipt.output_hash == content_hash(content)
            and known is not None
            and receipt.input_hash == known.input_hash
            and signed.is_signed(self._verifier)
        )
        if not holds:
            return self._give_up(task, "the executor's receipt does not match what it sent")
        with_receipt = structs.replace(record, stage=Stage.RUNNING, receipt=signed)
        self._asked[task] = with_receipt
        writes = ((_ASKED + task, encode(with_receipt)), (_OUTPUT + task, content))
        out: list[TaskEffect] = [Persist(Store.TASKS, writes)]
        if known is not None and not known.is_open:
            out += self._on_ledger(task, known)
        return out

    def _give_up(self, task: Digest, reason: str) -> list[TaskEffect]:
        """Tell the user at once; the reward returns now if nobody claimed it, else when it is overdue."""
        record = self._asked.get(task)
        if record is None or record.stage not in OPEN_STAGES or record.receipt is not None:
            return []
        out = self._end(task, Stage.FAILED, reason)
        known = self._ledger_task(task)
        if known is not None and known.state is TaskState.QUEUED:
            out.append(Transact(FailTask(task, reason[:_REASON_CHARS])))
        return out

    def _cancel(self, task: Digest) -> list[TaskEffect]:
        record, known = self._asked.get(task), self._ledger_task(task)
        if record is None or record.stage not in OPEN_STAGES:
            return []
        if known is None or known.state is not TaskState.QUEUED:
            return []
        reason = "cancelled by its asker"
        return [*self._end(task, Stage.CANCELLED, reason), Transact(FailTask(task, reason))]

    def _keep(self, record: AskedTask, stage: Stage) -> list[TaskEffect]:
        return self._store(structs.replace(record, stage=stage))

    def _end(self, task: Digest, stage: Stage, reason: str) -> list[TaskEffect]:
        record = self._asked.get(task)
        if record is None or record.stage not in OPEN_STAGES:
            return []
        return self._store(structs.replace(record, stage=stage, reason=reason[:_REASON_CHARS]))

    def _store(self, record: AskedTask) -> list[TaskEffect]:
        self._asked[Digest(record.task)] = record
        write = (_ASKED + record.task, encode(record))
        return [Persist(Store.TASKS, (write,)), Notify(record)]

    # As executor

    def _on_offer(self, event: OfferReceived) -> list[TaskEffect]:
        task, offer = Digest(event.offer.task), event.offer
        job = _Job(event.peer, offer.kind, event.content)
        refusal = None
        if not self._serves(offer.kind):
            refusal = f"this node does not do tasks of kind {offer.kind!r}"
        elif task in self._jobs:
            refusal = "this node works on that task already"
        elif len(self._jobs) >= CAPACITY:
            refusal = f"this node has {CAPACITY} tasks in hand; ask again later or elsewhere"
        if refusal is not None:
            return [Answer(task, Declined(refusal), b"")]
        known = self._ledger_task(task)
        if known is None:
            self._jobs[task] = job
            return [SetTimer(f"unconfirmed/{task.hex()}", _CONFIRM_MS)]
        return self._confirm(task, job, known)

    def _confirm(self, task: Digest, job: _Job, known: Task) -> list[TaskEffect]:
        """Compare an offer with the task that the ledger knows."""
        fault = None
        if known.submitter != job.asker:
            fault = "the task was asked for by somebody else"
        elif known.kind != job.kind or known.input_hash != content_hash(job.content):
            fault = "kind or input are not those on the ledger"
        elif known.reserved_for not in (None, self._own):
            fault = "the task is reserved for another node"
        elif known.state is not TaskState.QUEUED:
            fault = f"the task is {known.state.value} already"
        if fault is not None:
            self._jobs.pop(task, None)
            return [Answer(task, Declined(fault), b"")]
        return self._take_job(task, job)

    def _take_job(self, task: Digest, job: _Job) -> list[TaskEffect]:
        job.confirmed = True
        self._jobs[task] = job
        out: list[TaskEffect] = [Transact(ClaimTask(task)), Work(task, job.kind, job.content)]
        return out if job.asker == self._own else [Answer(task, Accepted(), b""), *out]

    def _job_on_ledger(self, task: Digest, now: Task) -> list[TaskEffect]:
        job = self._jobs.get(task)
        if job is None:
            return []
        if not job.confirmed:
            return self._confirm(task, job, now)
        return []

    def _on_work_done(self, now_ms: int, event: WorkDone) -> list[TaskEffect]:
        job = self._jobs.pop(event.task, None)
        if job is None:
            return []
        receipt = TaskReceipt(
            self._chain,
            event.task,
            job.kind,
            job.asker,
            self._own,
            content_hash(job.content),
            content_hash(event.output),
            event.model_hash,
            event.usage,
            now_ms,
            event.nonce,
        )
        signed = sign_receipt(self._signer, receipt)
        settle: list[TaskEffect] = [Transact(CompleteTask(signed))]
        if job.asker != self._own:
            finished = Finished(signed, len(event.output))
            return [Answer(event.task, finished, event.output), *settle]
        record = self._asked[event.task]
        return [*self._on_output(record, signed, event.output), *settle]

    def _on_work_failed(self, event: WorkFailed) -> list[TaskEffect]:
        job = self._jobs.pop(event.task, None)
        if job is None:
            return []
        reason = event.reason[:_REASON_CHARS]
        out: list[TaskEffect] = [Transact(FailTask(event.task, reason))]
        if job.asker == self._own:
            return [*self._end(event.task, Stage.FAILED, reason), *out]
        return [Answer(event.task, Failed(reason), b""), *out]

    # Timers

    def _on_timer(self, name: str) -> list[TaskEffect]:
        what, _, text = name.partition("/")
        task = Digest(bytes.fromhex(text))
        if what == "unconfirmed":
            job = self._jobs.get(task)
            if job is None or job.confirmed:
                return []
            del self._jobs[task]
            return [Answer(task, Declined("the task is not on this node's ledger"), b"")]
        return self._on_overdue(task)

    def _on_overdue(self, task: Digest) -> list[TaskEffect]:
        """The deadline has passed: take the reward back from an executor that never finished."""
        known = self._ledger_task(task)
        reason = "the deadline passed without a result"
        out = self._give_up(task, reason)
        if known is not None and known.state is TaskState.ASSIGNED:
            out.append(Transact(FailTask(task, reason)))
        return out

    def check_invariants(self) -> None:
        """What must hold after every event."""
        assert len(self._jobs) <= CAPACITY + len(self._asked)
        assert all(
            record.stage is not Stage.SETTLED or record.receipt for record in self._asked.values()
        )


def _overdue_timer(task: Digest, deadline_ms: int, now_ms: int) -> SetTimer:
    return SetTimer(f"overdue/{task.hex()}", max(0, deadline_ms - now_ms) + _OVERDUE_SLACK_MS)
