"""The asker's side of a task: put on the ledger, offered to its executor, followed until the ledger has ended it.

What the ledger says of a task decides; this side only acts on it. So every message may come late, twice or never, and a
restart is no special case: `_act` looks at record and ledger and does what is due. A task is shown as settled when its
output is on this node's disk under the very receipt that the ledger settled. Whatever happens, a reward in escrow is
taken back after the deadline.
"""

from __future__ import annotations

from enum import Enum
from typing import assert_never

from msgspec import structs

from consensus.ledger.records import Task, TaskState, Verdict
from consensus.operations.groups import MIN_REDUNDANCY, AttestGroup
from consensus.operations.transactions import FailTask, SignedReceipt, content_hash, countersign
from gossip.codec import (
    Bytes32,
    Bytes64,
    DecodeError,
    Digest,
    Name,
    Natural,
    Sentence,
    Wire,
    decode,
    encode,
)
from gossip.effects import CancelTimer, KeyValueReader, Notify, Persist, SetTimer, Store
from gossip.identity import NodeId, Signer, Verifier
from inference.agreement import largest_alike
from inference.chat_task import check_output
from inference.desk_events import (
    Asked,
    LedgerChanged,
    OfferTo,
    ReplyReceived,
    TaskEffect,
    Transact,
)
from inference.executor import REASON_CHARS, RETRY_MS
from inference.group_work import GroupView
from inference.handoff import Accepted, Declined, Failed, Finished, Offer, Progress, is_last
from inference.kinds import UnknownKind

ENDED_RECORDS = 10_000
ENDED_BYTES = 2**30
"""How many ended tasks are remembered, and how much of their inputs and outputs: the oldest go first."""

GRACE_MS = 60_000
"""After the deadline: for an output to arrive that is settled already, or for a receipt to be settled."""

_SLACK_MS = 1_000
_APPEAR_MS = 60_000
_REOFFER_MS = 2_000
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
    """A task of this node's user. `receipt` came with the output; `reason` says why there is none, or not yet.

    `last_tx` is the transaction that changed it last, executed at `last_height` (0: not yet). `size_bytes` is what
    input and output take on disk. `why` says why this executor was chosen,
    `countersignature` is this node's under the receipt. A `movable` task whose executor vanishes is given to another
    one as a task of its own: `taken_over_by` names that, and there `instead_of` this one.
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
    size_bytes: Natural = 0
    wants_cancel: bool = False
    why: Sentence = ""
    countersignature: Bytes64 | None = None
    movable: bool = False
    instead_of: Bytes32 | None = None
    taken_over_by: Bytes32 | None = None

    @property
    def is_open(self) -> bool:
        """Whether its user still waits."""
        return self.stage in OPEN_STAGES


class Asker:
    """The tasks that this node asked for."""

    TIMERS = frozenset({"overdue", "again", "unseen"})

    def __init__(
        self,
        *,
        chain: Digest,
        signer: Signer,
        verifier: Verifier,
        ledger: GroupView,
        reader: KeyValueReader,
    ) -> None:
        self._chain, self._signer, self._verifier, self._groups = chain, signer, verifier, ledger
        self._own = NodeId(signer.public)
        self._ledger_task, self._reader = ledger.task, reader
        self._exchanges: dict[Digest, bool] = {}
        """Tasks with an exchange under way, and whether the executor has accepted in it."""
        records = sorted(
            (decode(raw, AskedTask) for _, raw in reader.scan(_ASKED)),
            key=lambda one: (one.asked_at_ms, one.task),
        )
        self._asked = {Digest(one.task): one for one in records}
        self._ended = {Digest(one.task): one.size_bytes for one in records if not one.is_open}
        self._ended_bytes = sum(self._ended.values())
        self._movable = {Digest(one.task) for one in records if _waits_for_executor(one)}
        self._declined: set[Digest] = set()
        """Of these, those that their executor will not do. It is asked again after a restart."""

    def asked(self) -> list[AskedTask]:
        """The tasks that this node asked for, newest first."""
        return sorted(self._asked.values(), key=lambda one: (-one.asked_at_ms, one.task))

    def find(self, task: Digest) -> AskedTask | None:
        """One of this node's own tasks."""
        return self._asked.get(task)

    def movable(self) -> list[AskedTask]:
        """Those that another node may take over now, oldest first."""
        found = [self._asked[task] for task in self._movable]
        return sorted(found, key=lambda one: (one.asked_at_ms, one.task))

    def was_declined(self, task: Digest) -> bool:
        """Whether its executor will not do a task that may move."""
        return task in self._declined

    def input(self, task: Digest) -> bytes | None:
        """The canonical input of an own task, while it is kept."""
        return self._reader.get(_INPUT + task)

    def output(self, task: Digest) -> bytes | None:
        """The canonical output of an own task, once it has come and while it is kept."""
        return self._reader.get(_OUTPUT + task)

    def on_started(self, now_ms: int, own_tasks: list[tuple[Digest, Task]]) -> list[TaskEffect]:
        """Take up again what is open here or on the ledger.

        A record that the ledger doesn't show may be in a block that this node has yet to fetch.
        """
        out: list[TaskEffect] = []
        for record in list(self._asked.values()):
            task = Digest(record.task)
            if record.is_open:
                out.append(_overdue(task, record.deadline_ms, now_ms))
                if self._ledger_task(task) is None:
                    out.append(SetTimer(f"unseen/{task.hex()}", _APPEAR_MS))
                out += self._act(now_ms, task)
                if record.stage is Stage.RUNNING and task in self._exchanges:
                    # It was accepted before: the claim may be final elsewhere, and in a block that is yet to come here.
                    self._exchanges[task] = True
        for task, _ in own_tasks:
            known = self._asked.get(task)
            if known is None or not known.is_open:
                out += self._act(now_ms, task)
        return out

    def on_asked(self, now_ms: int, event: Asked) -> list[TaskEffect]:
        """Note a task before its transaction leaves."""
        record = AskedTask(
            task=event.task,
            kind=event.kind,
            executor=event.executor,
            deadline_ms=event.deadline_ms,
            last_tx=event.submit_tx,
            last_height=0,
            asked_at_ms=now_ms,
            stage=Stage.QUEUED,
            size_bytes=len(event.content),
            why=event.why[:REASON_CHARS],
            movable=event.movable,
            instead_of=event.instead_of,
        )
        kept_input = Persist(Store.TASKS, ((_INPUT + event.task, event.content),))
        return [
            kept_input,
            *self._store(record),
            _overdue(event.task, event.deadline_ms, now_ms),
            *self._hand_on(now_ms, event),
        ]

    def _hand_on(self, now_ms: int, event: Asked) -> list[TaskEffect]:
        """The new task takes the place of an older one, whose reward returns after its deadline."""
        older = None if event.instead_of is None else self._asked.get(event.instead_of)
        if older is None or not _waits_for_executor(older):
            return []
        handed_on = structs.replace(older, taken_over_by=event.task)
        why = f"its executor {older.executor.hex()[:12]} is gone"
        if event.instead_of in self._declined:
            why = older.reason
        reason = f"{why}; another node has it"
        return [*self._store(handed_on), *self._give_up(now_ms, Digest(older.task), reason)]

    def on_submit_refused(self, task: Digest, reason: str) -> list[TaskEffect]:
        """The task will never be on the ledger."""
        return self._end(task, Stage.FAILED, reason)

    def on_cancelled(self, now_ms: int, task: Digest) -> list[TaskEffect]:
        """Take a task back; the ledger decides whether that was before it was claimed."""
        record, known = self._asked.get(task), self._ledger_task(task)
        if record is None or not record.is_open:
            return []
        if known is not None and known.state is not TaskState.QUEUED:
            return []
        out = self._store(structs.replace(record, wants_cancel=True))
        return out + self._act(now_ms, task)

    def on_nobody_else(self, now_ms: int, task: Digest) -> list[TaskEffect]:
        """End a task that nobody has begun and no other node can have."""
        record, known = self._asked.get(task), self._ledger_task(task)
        if record is None or task not in self._movable or record.stage is Stage.RUNNING:
            return []
        if known is not None and known.state is not TaskState.QUEUED:
            return []
        return self._give_up(now_ms, task, f"{record.reason}; no other node can have it")

    def on_ledger(self, now_ms: int, event: LedgerChanged) -> list[TaskEffect]:
        """The ledger's word on any task."""
        record = self._asked.get(event.task)
        if record is None:
            return []
        seen = structs.replace(record, last_tx=event.transaction, last_height=event.height)
        known = self._ledger_task(event.task)
        if known is not None and known.group is not None and known.reserved_for is not None:
            seen = structs.replace(seen, executor=known.reserved_for)
        out = [*self._store(seen), *self._act(now_ms, event.task)]
        return out if known is None else out + self._compare(known)

    def _act(self, now_ms: int, task: Digest) -> list[TaskEffect]:
        """Do what is due for a task of this node's as the ledger has it now."""
        known, record = self._ledger_task(task), self._asked.get(task)
        if known is None or known.submitter != self._own:
            return []
        if record is None or not record.is_open:
            return self._take_back(now_ms, task, known)
        match known.state:
            case TaskState.QUEUED if record.wants_cancel:
                return [Transact(FailTask(task, "cancelled by its asker"))]
            case TaskState.QUEUED:
                return self._offer(now_ms, record)
            case TaskState.ASSIGNED | TaskState.COMMITTED | TaskState.REVEALED:
                out = self._store(structs.replace(record, stage=Stage.RUNNING))
                return out + self._offer(now_ms, self._asked[task])
            case TaskState.SETTLED:
                return self._on_settled(now_ms, record, known)
            case TaskState.FAILED:
                return self._end(task, Stage.FAILED, known.reason)
            case TaskState.CANCELLED:
                return self._end(task, Stage.CANCELLED, known.reason)
            case _:
                assert_never(known.state)

    def _offer(self, now_ms: int, record: AskedTask) -> list[TaskEffect]:
        """Offer a task whose output is not here, unless an exchange about it is under way."""
        task = Digest(record.task)
        if record.receipt is not None or task in self._exchanges or task in self._declined:
            return []
        content = self.input(task)
        if content is None:
            return self._give_up(now_ms, task, "the input is gone from this node's disk")
        self._exchanges[task] = False
        offer = OfferTo(NodeId(record.executor), Offer(task, record.kind, len(content)), content)
        if record.stage is not Stage.QUEUED:
            return [offer]
        return [*self._store(structs.replace(record, stage=Stage.ASSIGNED)), offer]

    def _on_settled(self, now_ms: int, record: AskedTask, known: Task) -> list[TaskEffect]:
        """The executor is paid. Its output must be here, under the receipt that it was paid for."""
        task, receipt = Digest(record.task), known.receipt
        assert receipt is not None
        if record.receipt is None:
            return self._offer(now_ms, record)
        if record.receipt.receipt.output_hash != receipt.receipt.output_hash:
            reason = "the executor was paid for another output than the one it sent"
            return self._end(task, Stage.FAILED, reason)
        self._asked[task] = structs.replace(record, receipt=receipt)
        return self._end(task, Stage.SETTLED, "")

    def _compare(
        self, known: Task, newest: tuple[Digest, bytes | None] | None = None
    ) -> list[TaskEffect]:
        """Say which results are alike, once all that will be opened are open and here.

        `newest` is an output that is on its way to the disk.
        """
        members = dict(self._groups.members(known))
        if not members or not self._groups.is_compared(known):
            return []
        is_open = {name for name, one in members.items() if one.is_open}
        if any(members[name].state is not TaskState.REVEALED for name in is_open):
            return []
        outputs: dict[Digest, bytes] = {}
        for name in sorted(is_open):
            record, output = self._asked.get(name), self.output(name)
            if output is None and newest is not None and newest[0] == name:
                output = newest[1]
            receipt, opened = None if record is None else record.receipt, members[name].receipt
            if output is None or receipt is None:
                return []
            if receipt == opened:
                outputs[name] = output
        alike = largest_alike(known.kind, outputs)
        assert known.group is not None
        whole = self._groups.group(known.group)
        if whole is None or len(alike) < max(whole.agreement, MIN_REDUNDANCY):
            return []
        return [Transact(AttestGroup(known.group, alike))]

    def on_attest_refused(self, operation: AttestGroup) -> list[TaskEffect]:
        """Try again while the group has no verdict and there is time."""
        whole = self._groups.group(operation.group)
        if whole is None or whole.verdict is not Verdict.OPEN:
            return []
        return [SetTimer(f"again/{bytes(whole.tasks[0]).hex()}", RETRY_MS)]

    def on_reply(self, now_ms: int, event: ReplyReceived) -> list[TaskEffect]:
        """What the executor says; only an output with its receipt counts for more than words."""
        record = self._asked.get(event.task)
        if is_last(event.reply):
            self._exchanges.pop(event.task, None)
        if record is None or not record.is_open or record.receipt is not None:
            return []
        match event.reply:
            case Accepted():
                if event.task in self._exchanges:
                    self._exchanges[event.task] = True
                return self._store(structs.replace(record, stage=Stage.RUNNING, reason=""))
            case Declined(reason):
                return self._on_declined(now_ms, record, f"the executor declined: {reason}")
            case Failed(reason):
                return self._give_up(now_ms, event.task, f"the executor failed: {reason}")
            case Progress():
                return []
            case Finished(signed):
                return self._on_output(now_ms, record, signed, event.content)
            case _:
                assert_never(event.reply)

    def _on_declined(self, now_ms: int, record: AskedTask, reason: str) -> list[TaskEffect]:
        """What may move waits for another node, the rest has failed."""
        task = Digest(record.task)
        if task not in self._movable:
            return self._give_up(now_ms, task, reason)
        self._declined.add(task)
        stage = Stage.ASSIGNED if record.stage is Stage.RUNNING else record.stage
        return self._store(structs.replace(record, stage=stage, reason=reason[:REASON_CHARS]))

    def _on_output(
        self, now_ms: int, record: AskedTask, signed: SignedReceipt, content: bytes
    ) -> list[TaskEffect]:
        """Keep an output only if it is one, and its executor signed for exactly it."""
        task = Digest(record.task)
        fault = self._fault_of(record, signed, content)
        if fault is not None:
            return self._give_up(now_ms, task, fault)
        with_output = structs.replace(
            record,
            stage=Stage.RUNNING,
            reason="",
            receipt=signed,
            countersignature=countersign(self._signer, signed),
            size_bytes=record.size_bytes + len(content),
        )
        return [
            Persist(Store.TASKS, ((_OUTPUT + task, content),)),
            *self._store(with_output),
            *self._act(now_ms, task),
            *self._compared_with(task, content),
        ]

    def _compared_with(self, task: Digest, content: bytes | None = None) -> list[TaskEffect]:
        known = self._ledger_task(task)
        return [] if known is None else self._compare(known, (task, content))

    def _fault_of(self, record: AskedTask, signed: SignedReceipt, content: bytes) -> str | None:
        receipt, known = signed.receipt, self._ledger_task(record.task)
        input_hash = None if known is None else known.input_hash
        says = (receipt.chain, receipt.task, receipt.kind, receipt.asker, receipt.executor)
        is_about = (self._chain, record.task, record.kind, self._own, record.executor)
        hashes = (receipt.input_hash, receipt.output_hash)
        if (says, hashes) != (is_about, (input_hash, content_hash(content))):
            return "the executor's receipt does not match what it sent"
        if not signed.is_signed(self._verifier):
            return "the executor's receipt is not signed by it"
        try:
            check_output(record.kind, content)
        except (UnknownKind, DecodeError) as error:
            return f"the executor's output is not one of kind {record.kind!r}: {error}"
        return None

    def on_lost(self, now_ms: int, task: Digest, reason: str) -> list[TaskEffect]:
        """Fail at once what nobody has begun; ask again for the output of what is claimed or was accepted.

        What may move is asked for until another node has it, there is none, or its time is over.
        """
        record, had_accepted = self._asked.get(task), self._exchanges.pop(task, False)
        if record is None or not record.is_open or record.receipt is not None:
            return []
        had_accepted |= record.movable
        known = self._ledger_task(task)
        if not had_accepted and (known is None or known.state is TaskState.QUEUED):
            return self._give_up(now_ms, task, reason)
        noted = structs.replace(record, reason=f"{reason}; trying again"[:REASON_CHARS])
        return [*self._store(noted), SetTimer(f"again/{task.hex()}", _REOFFER_MS)]

    def _give_up(self, now_ms: int, task: Digest, reason: str) -> list[TaskEffect]:
        """Tell the user at once; the reward returns now if nobody claimed it, else when it is overdue."""
        known = self._ledger_task(task)
        out = self._end(task, Stage.FAILED, reason)
        return out if known is None else out + self._take_back(now_ms, task, known)

    def _take_back(self, now_ms: int, task: Digest, known: Task) -> list[TaskEffect]:
        """Get the reward of a task that nobody waits for any more out of escrow."""
        record = self._asked.get(task)
        reason = "its asker gave up" if record is None or not record.reason else record.reason
        if known.state is TaskState.QUEUED or (known.is_open and now_ms >= known.deadline_ms):
            return [Transact(FailTask(task, reason))]
        return [_overdue(task, known.deadline_ms, now_ms)] if known.is_open else []

    def on_refused(self, now_ms: int, operation: FailTask) -> list[TaskEffect]:
        """A reward was not taken back: the task was claimed first, its time is not over, or the node is busy."""
        task = Digest(operation.task)
        known = self._ledger_task(task)
        if known is None or known.submitter != self._own or not known.is_open:
            return []
        if known.state is TaskState.QUEUED:
            return [SetTimer(f"again/{task.hex()}", RETRY_MS)]
        left_ms = known.deadline_ms + _SLACK_MS - now_ms
        return [SetTimer(f"overdue/{task.hex()}", max(RETRY_MS, left_ms))]

    def on_timer(self, now_ms: int, name: str) -> list[TaskEffect]:
        """One of `TIMERS`, with the task's id after the slash."""
        what, _, text = name.partition("/")
        task = Digest(bytes.fromhex(text))
        if what == "overdue":
            return self._on_overdue(now_ms, task)
        if what == "again":
            return self._act(now_ms, task) + self._compared_with(task)
        if self._ledger_task(task) is None:
            return self._end(task, Stage.FAILED, "lost by a restart before it was on the ledger")
        return []

    def _on_overdue(self, now_ms: int, task: Digest) -> list[TaskEffect]:
        """The deadline has passed: end what has no output, take the reward back from who never finished."""
        known, record = self._ledger_task(task), self._asked.get(task)
        reason = "the deadline passed without a result"
        if known is not None and known.group is not None and known.is_open:
            return self._on_group_overdue(now_ms, task, known)
        if record is None or not record.is_open:
            return self._act(now_ms, task)
        if known is None:
            return self._end(task, Stage.FAILED, "it was not on the ledger before its deadline")
        may_come = known.state is TaskState.SETTLED or record.receipt is not None
        if may_come and now_ms < record.deadline_ms + GRACE_MS:
            return [SetTimer(f"overdue/{task.hex()}", record.deadline_ms + GRACE_MS - now_ms)]
        if known.state is TaskState.SETTLED and record.receipt is None:
            reason = "settled on the ledger, but the output never reached this node"
        elif record.receipt is not None:
            return [Transact(FailTask(task, "the executor never settled its receipt"))]
        return self._give_up(now_ms, task, reason)

    def _on_group_overdue(self, now_ms: int, task: Digest, known: Task) -> list[TaskEffect]:
        """End a member whose time is over, so that the others' results count; wait for one that has time left."""
        late = [
            Transact(FailTask(name, "its time is over"))
            for name in self._groups.overdue(now_ms, known)
            if name == task
        ]
        return [*late, SetTimer(f"overdue/{task.hex()}", RETRY_MS)]

    def _end(self, task: Digest, stage: Stage, reason: str) -> list[TaskEffect]:
        record = self._asked.get(task)
        if record is None or not record.is_open:
            return []
        ended = structs.replace(record, stage=stage, reason=reason[:REASON_CHARS])
        out = self._store(ended)
        self._ended[task] = ended.size_bytes
        self._ended_bytes += ended.size_bytes
        timers = [CancelTimer(f"{name}/{task.hex()}") for name in sorted(self.TIMERS)]
        return [*out, *timers, *self._trim()]

    def _trim(self) -> list[TaskEffect]:
        """Forget the oldest ended tasks: contents above `ENDED_BYTES`, records above `ENDED_RECORDS`."""
        out: list[TaskEffect] = []
        while len(self._ended) > ENDED_RECORDS:
            task = next(iter(self._ended))
            self._ended_bytes -= self._ended.pop(task)
            del self._asked[task]
            self._exchanges.pop(task, None)
            out.append(_deletion(_ASKED + task, _INPUT + task, _OUTPUT + task))
        if self._ended_bytes <= ENDED_BYTES:
            return out
        for task in [task for task, size_bytes in self._ended.items() if size_bytes][:-1]:
            if self._ended_bytes <= ENDED_BYTES:
                break
            self._ended_bytes -= self._ended[task]
            self._ended[task] = 0
            emptied = structs.replace(self._asked[task], size_bytes=0)
            out += [_deletion(_INPUT + task, _OUTPUT + task), *self._store(emptied)]
        return out

    def _store(self, record: AskedTask) -> list[TaskEffect]:
        if self._asked.get(Digest(record.task)) == record:
            return []
        self._asked[Digest(record.task)] = record
        if _waits_for_executor(record):
            self._movable.add(Digest(record.task))
        else:
            self._movable.discard(Digest(record.task))
            self._declined.discard(Digest(record.task))
        write = (_ASKED + record.task, encode(record))
        return [Persist(Store.TASKS, (write,)), Notify(record)]

    def check_invariants(self) -> None:
        """What must hold after every event."""
        ended = {task for task, record in self._asked.items() if not record.is_open}
        assert ended == self._ended.keys()
        assert len(ended) <= ENDED_RECORDS
        assert self._ended_bytes == sum(self._ended.values())
        assert self._exchanges.keys() <= self._asked.keys()
        waiting = {task for task, one in self._asked.items() if _waits_for_executor(one)}
        assert waiting == self._movable
        assert self._declined <= self._movable
        assert all(
            record.receipt is not None
            for record in self._asked.values()
            if record.stage is Stage.SETTLED
        )


def _waits_for_executor(record: AskedTask) -> bool:
    return record.is_open and record.movable and record.receipt is None


def _overdue(task: Digest, deadline_ms: int, now_ms: int) -> SetTimer:
    return SetTimer(f"overdue/{task.hex()}", max(0, deadline_ms - now_ms) + _SLACK_MS)


def _deletion(*keys: bytes) -> Persist:
    return Persist(Store.TASKS, tuple((key, None) for key in keys))
