"""The executor's side of a task: an offer is checked against the ledger, claimed, worked on, handed back and settled.

Work begins while the claim is on its way, but the output leaves the node only once the ledger shows the claim, so an
asker can't take the output and withdraw the task. From then on output and receipt are on disk: an asker whose stream
broke offers again and gets the same output, and after a restart the receipt is still settled. A claim of this node's
behind which there is neither work nor output is given back, whenever it is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec import structs

from consensus.ledger.records import Task, TaskState
from consensus.operations.groups import CommitResult, result_commitment
from consensus.operations.transactions import (
    ClaimTask,
    CompleteTask,
    FailTask,
    SettleTask,
    SignedReceipt,
    TaskReceipt,
    content_hash,
    countersign,
    sign_receipt,
)
from gossip.codec import Bytes32, Bytes64, Digest, Natural, Wire, decode, encode
from gossip.effects import CancelTimer, KeyValueReader, Persist, SetTimer, Store, Write
from gossip.identity import NodeId, Signer, Verifier
from inference.desk_events import (
    Answer,
    CountersignReceived,
    OfferReceived,
    TaskEffect,
    Transact,
    Work,
    WorkDone,
    WorkFailed,
)
from inference.group_work import GroupView
from inference.handoff import MAX_CONTENT_BYTES, Accepted, Declined, Failed, Finished

CAPACITY = 8
"""Tasks of others in hand at once; what comes above is declined."""

MAX_WAITING = 8
"""Offers that wait for the ledger to show their task, two from one peer."""

KEPT_OUTPUTS = 1_000
KEPT_BYTES = 256 * 2**20
COUNTERSIGN_MS = 2_000
"""How long a settlement waits for the asker's word."""

KEEP_MS = 60 * 60 * 1000
"""How many finished outputs of others' tasks are kept for an asker that offers again, and for how long."""

RETRY_MS = 10_000
REASON_CHARS = 500

_CONFIRM_MS = 10_000
_TIME_TO_OPEN_MS = 10 * COUNTERSIGN_MS
"""Less than this before its time is over a result is opened without waiting for anybody's word."""
_WAITING_PER_PEER = 2
_KEPT, _RESULT = b"kept/", b"result/"


class Kept(Wire, frozen=True):
    """A finished task: for whom, the receipt that settles it, and the size of the output on disk.

    `countersignature` is the asker's under the receipt, if it gave one.
    """

    asker: Bytes32
    signed: SignedReceipt
    size_bytes: Natural
    finished_at_ms: Natural
    countersignature: Bytes64 | None = None


@dataclass(slots=True)
class _Job:
    """A task in hand. `outcome` is the output and its receipt, or why there is none, until the claim is final."""

    asker: NodeId
    kind: str
    input_hash: Digest
    outcome: tuple[SignedReceipt, bytes] | str | None = None


class Executor:
    """The tasks that this node works on.

    `unable` says why an input of a kind that is served can't be worked on now for this reward, or None.
    """

    TIMERS = frozenset({"unconfirmed", "claim", "work", "kept", "settle"})

    def __init__(
        self,
        *,
        chain: Digest,
        signer: Signer,
        verifier: Verifier,
        serves: Callable[[str], bool],
        ledger: GroupView,
        reader: KeyValueReader,
        unable: Callable[[str, bytes, int], str | None] | None = None,
    ) -> None:
        self._chain, self._signer, self._groups = chain, signer, ledger
        self._verifier = verifier
        self._unable = unable or (lambda _kind, _content, _reward: None)
        self._own = NodeId(signer.public)
        self._serves, self._ledger_task, self._reader = serves, ledger.task, reader
        self._waiting: dict[tuple[Digest, NodeId], OfferReceived] = {}
        self._jobs: dict[Digest, _Job] = {}
        kept = [(Digest(key[len(_KEPT) :]), decode(raw, Kept)) for key, raw in reader.scan(_KEPT)]
        kept.sort(key=lambda pair: (pair[1].finished_at_ms, pair[0]))
        self._kept: dict[Digest, Kept] = dict(kept)
        self._kept_bytes = sum(one.size_bytes for one in self._kept.values())
        self._unsigned: set[Digest] = set()
        """Handed over, and settled as soon as the asker has signed too, or `COUNTERSIGN_MS` later."""
        self._shown: set[Digest] = set()
        """Members of groups whose output went to an asker that compares before it was opened."""
        self._opening: set[Digest] = set()
        """Members of groups whose opening was handed in, until it is time to look again."""

    @property
    def in_hand(self) -> int:
        """How many tasks this node works on."""
        return len(self._jobs)

    def countersignature(self, task: Digest) -> bytes | None:
        """The asker's signature under the receipt of a finished task, while it is kept."""
        kept = self._kept.get(task)
        return None if kept is None else kept.countersignature

    def on_countersigned(self, event: CountersignReceived) -> list[TaskEffect]:
        """Keep the asker's word, if it is one about the receipt that is here, and settle with it what waited for it."""
        kept = self._kept.get(event.task)
        if kept is None or kept.asker != event.peer or kept.countersignature is not None:
            return []
        if not kept.signed.is_countersigned(self._verifier, event.signature):
            return []
        self._kept[event.task] = structs.replace(kept, countersignature=event.signature)
        write = (_KEPT + event.task, encode(self._kept[event.task]))
        return [Persist(Store.TASKS, (write,)), *self._settle_unsigned(event.task)]

    def _settle_unsigned(self, task: Digest) -> list[TaskEffect]:
        """Settle what has waited for the asker's word, with it or without."""
        if task not in self._unsigned:
            return []
        self._unsigned.remove(task)
        known, settlement = self._ledger_task(task), list[TaskEffect]()
        if self._has_claimed(task):
            settlement = [self._settlement(task)]
        elif known is not None and known.state is TaskState.COMMITTED:
            settlement = self._opened(task)
        return [CancelTimer(f"settle/{task.hex()}"), *settlement]

    def on_started(self, now_ms: int, own_tasks: list[tuple[Digest, Task]]) -> list[TaskEffect]:
        """Settle what was finished, give back what was claimed and is forgotten."""
        out: list[TaskEffect] = [
            SetTimer(f"kept/{task.hex()}", max(0, one.finished_at_ms + KEEP_MS - now_ms))
            for task, one in self._kept.items()
        ]
        for task, known in own_tasks:
            out += self.on_ledger(now_ms, task, known)
        return out

    def on_offer(self, now_ms: int, offered: OfferReceived) -> list[TaskEffect]:
        """Take an offer, or go on with the exchange of one that was taken before."""
        peer, task = offered.peer, Digest(offered.offer.task)
        known, job = self._ledger_task(task), self._jobs.get(task)
        if job is not None and job.asker == peer:
            return [Answer(peer, task, Accepted())]
        if known is not None:
            return self._judge(now_ms, offered, known)
        if not self._serves(offered.offer.kind):
            return [_declined(offered, _unserved(offered.offer.kind))]
        others = [one for _, one in self._waiting if one == peer]
        if len(self._waiting) >= MAX_WAITING or len(others) >= _WAITING_PER_PEER:
            return [_declined(offered, "too many tasks wait for this node's ledger; ask again")]
        self._waiting[task, peer] = offered
        return [SetTimer(_unconfirmed(offered), _CONFIRM_MS)]

    def _judge(self, now_ms: int, offered: OfferReceived, known: Task) -> list[TaskEffect]:
        """Compare an offer with the task that the ledger knows."""
        peer, offer, task = offered.peer, offered.offer, Digest(offered.offer.task)
        if known.submitter != peer:
            return [_declined(offered, "the task was asked for by somebody else")]
        if known.executor == self._own and known.is_open and self._groups.holds_output_back(known):
            return [Answer(peer, task, Accepted())]
        if known.executor == self._own:
            return [self._hand_over_again(task, peer)]
        others = sum(job.asker != self._own for job in self._jobs.values())
        fault = None
        if known.kind != offer.kind or known.input_hash != content_hash(offered.content):
            fault = "kind or input are not those on the ledger"
        elif known.reserved_for not in (None, self._own):
            fault = "the task is reserved for another node"
        elif known.state is not TaskState.QUEUED:
            fault = f"the task is {known.state.value} already"
        elif now_ms >= known.deadline_ms:
            fault = "the task's deadline has passed"
        elif not self._serves(offer.kind):
            fault = _unserved(offer.kind)
        elif peer != self._own and others >= CAPACITY:
            fault = f"this node has {CAPACITY} tasks in hand; ask again later or elsewhere"
        fault = fault or self._unable(offer.kind, offered.content, known.reward)
        if fault is not None:
            return [_declined(offered, fault[:REASON_CHARS])]
        self._jobs[task] = _Job(peer, offer.kind, Digest(known.input_hash))
        left_ms = known.deadline_ms - now_ms
        return [
            Answer(peer, task, Accepted()),
            Transact(ClaimTask(task)),
            SetTimer(f"work/{task.hex()}", left_ms),
            Work(task, offer.kind, offered.content, left_ms),
        ]

    def _hand_over_again(self, task: Digest, peer: NodeId) -> TaskEffect:
        kept = self._kept.get(task)
        output = None if kept is None else self._reader.get(_RESULT + task)
        if kept is None or output is None:
            return Answer(peer, task, Failed("the executor no longer has the work or its output"))
        return Answer(peer, task, Finished(kept.signed, len(output)), output)

    def on_ledger(self, now_ms: int, task: Digest, now: Task) -> list[TaskEffect]:
        """The ledger's word on any task."""
        out: list[TaskEffect] = []
        for key in sorted(key for key in self._waiting if key[0] == task):
            offered = self._waiting.pop(key)
            out.append(CancelTimer(_unconfirmed(offered)))
            out += self._judge(now_ms, offered, now)
        if now.state is TaskState.ASSIGNED and now.executor == self._own:
            return out + self._go_on(now_ms, task)
        if now.group is not None:
            out += self._on_group(now_ms, task, now)
        if now.state is not TaskState.QUEUED:
            out += self._drop_job(task, f"the task is {now.state.value} on the ledger")
        if now.state in (TaskState.FAILED, TaskState.CANCELLED):
            out += self._forget(task)
        return out

    def _go_on(
        self, now_ms: int, task: Digest, lack: str = "the executor lost the task in a restart"
    ) -> list[TaskEffect]:
        """A claim of this node's is on the ledger: settle it, wait for the work, or give it back for `lack` of both."""
        job, kept = self._jobs.get(task), self._kept.get(task)
        if kept is not None:
            return [] if task in self._unsigned else [self._settlement(task)]
        if job is None:
            return [Transact(FailTask(task, lack))]
        if job.outcome is None:
            return []
        del self._jobs[task]
        if isinstance(job.outcome, str):
            return [CancelTimer(f"work/{task.hex()}"), Transact(FailTask(task, job.outcome))]
        return self._hand_over(now_ms, task, job.asker, *job.outcome)

    def _hand_over(
        self, now_ms: int, task: Digest, asker: NodeId, signed: SignedReceipt, output: bytes
    ) -> list[TaskEffect]:
        """Keep output and receipt, then let them go, if nothing holds them back.

        An own task's output is kept by its asker's side, unless that must wait for it.
        """
        known = self._ledger_task(task)
        waits = known is not None and self._groups.holds_output_back(known)
        own = asker == self._own and not waits
        word = countersign(self._signer, signed) if own else None
        kept = self._kept[task] = Kept(asker, signed, 0 if own else len(output), now_ms, word)
        self._kept_bytes += kept.size_bytes
        writes: tuple[Write, ...] = ((_KEPT + task, encode(kept)),)
        return [
            CancelTimer(f"work/{task.hex()}"),
            Persist(Store.TASKS, writes if own else (*writes, (_RESULT + task, output))),
            *self._trim(),
            SetTimer(f"kept/{task.hex()}", KEEP_MS),
            *([] if waits else [Answer(asker, task, Finished(signed, len(output)), output)]),
            *([self._settlement(task)] if waits or own else self._await_word(task)),
        ]

    def _await_word(self, task: Digest) -> list[TaskEffect]:
        self._unsigned.add(task)
        return [SetTimer(f"settle/{task.hex()}", COUNTERSIGN_MS)]

    def _settlement(self, task: Digest) -> Transact:
        """What the ledger is told of finished work: all of it, or first only that it is finished."""
        kept, known = self._kept[task], self._ledger_task(task)
        if known is not None and known.group is not None:
            return Transact(CommitResult(task, result_commitment(encode(kept.signed))))
        return self._told_whole(kept)

    def _told_whole(self, kept: Kept) -> Transact:
        """The receipt, with its asker's word if there is one."""
        word = kept.countersignature
        if word is None and kept.asker == self._own:
            word = countersign(self._signer, kept.signed)
        if word is None:
            return Transact(CompleteTask(kept.signed))
        return Transact(SettleTask(kept.signed, word))

    def _on_group(self, now_ms: int, task: Digest, now: Task) -> list[TaskEffect]:
        """A member of a group changed, which may be what this node's own member waits for."""
        out: list[TaskEffect] = []
        for name, member in self._groups.members(now):
            if member.executor == self._own and member.is_open and name in self._kept:
                out += self._follow(now_ms, name, member, hand_over=name == task)
        kept = self._kept.get(task)
        if kept is None or now.executor != self._own or now.is_open:
            return out
        if now.state is TaskState.SETTLED:
            return [*out, self._hand_over_again(task, NodeId(kept.asker))]
        return [*out, Answer(NodeId(kept.asker), task, Failed(now.reason))]

    def _follow(
        self, now_ms: int, task: Digest, now: Task, *, hand_over: bool = False
    ) -> list[TaskEffect]:
        """Open a committed result when nobody can copy it, and end members that hold up the others."""
        again = SetTimer(f"claim/{task.hex()}", RETRY_MS)
        kept = self._kept[task]
        if now.state is TaskState.COMMITTED and self._groups.may_open(now_ms, now):
            if task in self._unsigned or task in self._opening:
                return []
            if task not in self._shown and self._may_show(now_ms, now, kept):
                self._shown.add(task)
                return [self._hand_over_again(task, NodeId(kept.asker)), *self._await_word(task)]
            return self._opened(task)
        if now.state is TaskState.COMMITTED:
            return [again]
        late = [
            Transact(FailTask(name, "its time is over"))
            for name in self._groups.overdue(now_ms, now)
        ]
        given = []
        if hand_over and not self._groups.holds_output_back(now):
            given = [self._hand_over_again(task, NodeId(kept.asker))]
        return [*given, *late, again]

    def _may_show(self, now_ms: int, now: Task, kept: Kept) -> bool:
        """Whether a member's output goes to its asker before it is opened, to be signed for.

        Only where the asker compares: there it can't keep back the pay of who has opened a result. And only while
        there is time enough to open it without a word from the asker.
        """
        in_time = now_ms + _TIME_TO_OPEN_MS < self._groups.due_ms(now)
        return self._groups.is_compared(now) and kept.asker != self._own and in_time

    def _opened(self, task: Digest) -> list[TaskEffect]:
        """Open a committed result, and look again whether the ledger has it."""
        self._opening.add(task)
        opening = self._told_whole(self._kept[task])
        return [opening, SetTimer(f"claim/{task.hex()}", RETRY_MS)]

    def _trim(self) -> list[TaskEffect]:
        """Forget the oldest outputs; the newest stays whatever its size."""
        out: list[TaskEffect] = []
        while len(self._kept) > 1 and (
            len(self._kept) > KEPT_OUTPUTS or self._kept_bytes > KEPT_BYTES
        ):
            out += self._forget(next(iter(self._kept)))
        return out

    def _forget(self, task: Digest) -> list[TaskEffect]:
        kept = self._kept.pop(task, None)
        self._unsigned.discard(task)
        self._shown.discard(task)
        self._opening.discard(task)
        if kept is None:
            return []
        self._kept_bytes -= kept.size_bytes
        writes = ((_KEPT + task, None), (_RESULT + task, None))
        timers = [CancelTimer(f"{name}/{task.hex()}") for name in ("kept", "settle")]
        return [Persist(Store.TASKS, writes), *timers]

    def _drop_job(self, task: Digest, reason: str) -> list[TaskEffect]:
        """Work on a task that has ended otherwise is worth nothing; its result will be ignored."""
        job = self._jobs.pop(task, None)
        if job is None:
            return []
        return [CancelTimer(f"work/{task.hex()}"), Answer(job.asker, task, Failed(reason))]

    def on_work_done(self, now_ms: int, event: WorkDone) -> list[TaskEffect]:
        """Sign for the output; it leaves once the claim is final."""
        job = self._jobs.get(event.task)
        if job is None or job.outcome is not None:
            return []
        if len(event.output) > MAX_CONTENT_BYTES:
            return self._on_failure(now_ms, event.task, job, "the output is too large to be sent")
        receipt = TaskReceipt(
            chain=self._chain,
            task=event.task,
            kind=job.kind,
            asker=job.asker,
            executor=self._own,
            input_hash=job.input_hash,
            output_hash=content_hash(event.output),
            model_hash=event.model_hash,
            usage=event.usage,
            finished_at_ms=now_ms,
            nonce=event.nonce,
        )
        job.outcome = (sign_receipt(self._signer, receipt), event.output)
        return self._go_on(now_ms, event.task) if self._has_claimed(event.task) else []

    def on_work_failed(self, now_ms: int, event: WorkFailed) -> list[TaskEffect]:
        """Tell the asker at once; the claim is given back when it is final."""
        job = self._jobs.get(event.task)
        if job is None or job.outcome is not None:
            return []
        return self._on_failure(now_ms, event.task, job, event.reason[:REASON_CHARS])

    def _on_failure(self, now_ms: int, task: Digest, job: _Job, reason: str) -> list[TaskEffect]:
        job.outcome = reason
        out: list[TaskEffect] = [Answer(job.asker, task, Failed(reason))]
        return out + self._go_on(now_ms, task) if self._has_claimed(task) else out

    def on_refused(
        self, operation: ClaimTask | CommitResult | CompleteTask | FailTask, reason: str
    ) -> list[TaskEffect]:
        """A transaction failed: end a job that could not be claimed, look again later at any other claim."""
        named = operation.signed.receipt if isinstance(operation, CompleteTask) else operation
        task = Digest(named.task)
        if self._has_claimed(task):
            return [SetTimer(f"claim/{task.hex()}", RETRY_MS)]
        if isinstance(operation, ClaimTask):
            return self._drop_job(task, f"the claim was refused: {reason}"[:REASON_CHARS])
        return []

    def on_timer(self, now_ms: int, name: str) -> list[TaskEffect]:
        """One of `TIMERS`, with the task's id after the slash."""
        what, text, *peer = name.split("/")
        task = Digest(bytes.fromhex(text))
        known = self._ledger_task(task)
        if what == "unconfirmed":
            offered = self._waiting.pop((task, NodeId(bytes.fromhex(peer[0]))), None)
            reason = "the task is not on this node's ledger"
            return [] if offered is None else [_declined(offered, reason)]
        if what == "settle":
            return self._settle_unsigned(task)
        self._opening.discard(task)
        if what == "claim" and self._has_claimed(task):
            return self._go_on(now_ms, task)
        if what == "claim":
            is_followed = known is not None and known.is_open and known.group is not None
            if known is None or not is_followed or task not in self._kept:
                return []
            return self._follow(now_ms, task, known)
        if what == "kept":
            if known is not None and known.is_open:
                return [SetTimer(name, KEEP_MS)]
            return self._forget(task)
        reason = "the deadline passed before the work was done"
        out = self._drop_job(task, reason)
        return out + self._go_on(now_ms, task, reason) if out and self._has_claimed(task) else out

    def _has_claimed(self, task: Digest) -> bool:
        known = self._ledger_task(task)
        return (
            known is not None and known.state is TaskState.ASSIGNED and known.executor == self._own
        )

    def check_invariants(self) -> None:
        """What must hold after every event."""
        others = [job for job in self._jobs.values() if job.asker != self._own]
        assert len(others) <= CAPACITY
        assert len(self._waiting) <= MAX_WAITING
        assert len(self._kept) <= KEPT_OUTPUTS
        assert self._kept_bytes == sum(one.size_bytes for one in self._kept.values())
        assert not self._jobs.keys() & self._kept.keys()
        assert self._unsigned <= self._kept.keys()
        assert (self._shown | self._opening) <= self._kept.keys()


def _unserved(kind: str) -> str:
    return f"this node does not do tasks of kind {kind!r}"


def _declined(offered: OfferReceived, reason: str) -> TaskEffect:
    return Answer(offered.peer, Digest(offered.offer.task), Declined(reason))


def _unconfirmed(offered: OfferReceived) -> str:
    return f"unconfirmed/{bytes(offered.offer.task).hex()}/{offered.peer.hex()}"
