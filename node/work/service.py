"""Tasks in the daemon: carries out what the task desk asks for, with the real backend, streams and account."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import structlog
import trio

from consensus.execution import BlockExecuted
from consensus.ledger.events import TaskChanged
from consensus.ledger.records import Task, TaskState
from consensus.operations.groups import AgreementRule, SubmitGroup, member_id
from consensus.operations.transactions import (
    CompleteTask,
    FailTask,
    Operation,
    SubmitTask,
    Transaction,
    Usage,
    content_hash,
    task_id,
)
from gossip.codec import ZERO_DIGEST, Digest
from gossip.effects import Notify, Store
from gossip.identity import NodeId, Signer, Verifier
from gossip.transport import Stream, Transport, TransportError
from inference.agreement import is_compared_by_meaning
from inference.asker import AskedTask
from inference.backend import Backend, BackendError
from inference.backends.router import ModelRouter
from inference.chat_task import CHAT
from inference.desk_events import (
    Answer,
    Asked,
    Cancelled,
    ExchangeLost,
    LedgerChanged,
    NobodyElse,
    OfferTo,
    ReplyReceived,
    Started,
    SubmitRefused,
    TaskEvent,
    TimerFired,
    Transact,
    TransactRefused,
    Work,
    WorkDone,
    WorkFailed,
)
from inference.group_work import GroupView
from inference.handoff import (
    PROTOCOL,
    Countersigned,
    Finished,
    HandoffError,
    Progress,
    Stop,
    receive_replies,
    send_offer,
    send_word,
)
from inference.kinds import BadInput, UnknownKind
from inference.lifecycle import TaskDesk
from inference.placement import GroupSize, Place, choose_place, choose_places
from node.chain.own_account import NotTakenError, OwnAccount
from node.chain.service import ChainService
from node.driver import CoreDriver, now_ms
from node.models.files import ModelFiles
from node.peers.service import PeerService
from node.storage.store import StagedStore
from node.work.chat_work import ChatWork
from node.work.offer_streams import OfferStreams

log = structlog.get_logger(__name__)

DEADLINE_S = 120
"""How long an executor has if the asker says nothing; `bizra-node task submit --help` names it."""
DEFAULT_REWARD = 100
_UNKNOWN_NODE = NodeId(bytes(32))
"""Until the ledger has drawn."""


class Follower:
    """Somebody who waits for a task while it is done: hears its lines and every change of its record."""

    def __init__(self) -> None:
        self.name = ZERO_DIGEST
        self.wants_stop = trio.Event()

    async def on_lines(self, lines: tuple[str, ...]) -> None:
        """Lines of the answer; the peer is held back until this returns."""

    def on_record(self, record: AskedTask) -> None:
        """What is on disk about the task now."""

    def on_lost(self, reason: str) -> None:
        """The stream to the executor broke."""


class TaskService:
    """The task desk's surroundings."""

    def __init__(
        self,
        *,
        chain: ChainService,
        peers: PeerService,
        account: OwnAccount,
        identity: Signer,
        verifier: Verifier,
        backend: Backend,
        kinds: tuple[str, ...],
        store: StagedStore,
        nursery: trio.Nursery,
        models: ModelRouter,
        files: ModelFiles,
    ) -> None:
        self._chain, self._peers, self._account = chain, peers, account
        self._chats = ChatWork(models, files)
        self._followers: dict[Digest, Follower] = {}
        self._backend, self._kinds, self._nursery = backend, kinds, nursery
        self._own = account.node_id
        ledger = chain.engine.ledger
        self.desk = TaskDesk(
            chain=ledger.genesis.federation_id,
            signer=identity,
            verifier=verifier,
            serves=lambda kind: kind in kinds,
            ledger=GroupView.of(ledger),
            own_tasks=self._own_tasks,
            reader=store,
            unable=self._unable,
        )
        self._driver: CoreDriver[TaskEvent] = CoreDriver(
            self.desk.handle, TimerFired, self._carry_out, {Store.TASKS: store}
        )
        self._streams = OfferStreams(
            peers.membership.is_member, self._chats, self._has_claimed, self._driver.post
        )
        chain.listen(self._on_report)

    @property
    def link(self) -> Transport:
        """The way to other nodes."""
        return self._peers.link

    async def run(self) -> None:
        """Serve until cancelled."""
        self.link.serve(PROTOCOL, self._streams.serve)
        self._driver.post(Started())
        await self._driver.run()

    def _own_tasks(self) -> list[tuple[Digest, Task]]:
        return [
            (Digest(name), task)
            for name, task in self._chain.engine.ledger.tasks()
            if task.is_open and self._own in (task.submitter, task.executor)
        ]

    # As asker

    async def submit(
        self,
        kind: str,
        content: bytes,
        *,
        executor: NodeId | None,
        reward: int | None,
        deadline_s: int | None,
    ) -> AskedTask:
        """Place a task and put it on the ledger; returns when it has its id.

        Raises `NoPlaceError` and `NotTakenError`.
        """
        place = self._choose(kind, executor)
        movable = executor is None and place.executor != self._own
        return await self.place(
            kind, content, place, reward=reward, deadline_s=deadline_s, movable=movable
        )

    async def hand_on(self, older: AskedTask, place: Place) -> None:
        """Give a task whose executor has vanished to another node, as a task of its own with what time is left.

        Raises `NotTakenError`.
        """
        task = Digest(older.task)
        content, known = self.desk.input(task), self._chain.engine.ledger.task(task)
        if content is not None and known is not None:
            await self.place(
                older.kind,
                content,
                place,
                reward=known.reward,
                deadline_s=(older.deadline_ms - now_ms()) // 1000,
                movable=place.executor != self._own,
                instead_of=task,
            )

    def _choose(self, kind: str, executor: NodeId | None) -> Place:
        candidates = tuple(one.node_id for one in self._peers.membership.candidates(kind))
        return choose_place(
            kind,
            own=self._own,
            serves=kind in self._kinds,
            candidates=candidates,
            wanted=executor,
        )

    async def place(
        self,
        kind: str,
        content: bytes,
        place: Place,
        *,
        reward: int | None,
        deadline_s: int | None,
        follower: Follower | None = None,
        movable: bool = False,
        instead_of: Digest | None = None,
    ) -> AskedTask:
        """Put a task for a chosen executor on the ledger; returns when it has its id.

        Raises `NotTakenError`.
        """
        deadline_ms = now_ms() + 1000 * (DEADLINE_S if deadline_s is None else deadline_s)
        operation = SubmitTask(
            kind,
            content_hash(content),
            DEFAULT_REWARD if reward is None else reward,
            place.executor,
            deadline_ms,
        )
        async with self._account.turn:
            transaction = self._account.sign((operation,))
            name = task_id(transaction.id, 0)
            if follower is not None:
                follower.name, self._followers[name] = name, follower
            asked = Asked(
                name,
                kind,
                content,
                place.executor,
                deadline_ms,
                transaction.id,
                place.reason,
                movable,
                instead_of,
            )
            try:
                await self._hand_in(transaction, (asked,))
            except NotTakenError:
                self._followers.pop(name, None)
                raise
        log.info("task placed", task=name.hex(), executor=place.executor.hex(), why=place.reason)
        record = self.desk.find(name)
        assert record is not None
        return record

    async def place_group(
        self,
        kind: str,
        content: bytes,
        size: GroupSize,
        *,
        reward: int | None,
        deadline_s: int | None,
    ) -> Digest:
        """Put the same task for several executors on the ledger; the group's id.

        Raises `NoPlaceError` and `NotTakenError`.
        """
        deadline_ms = now_ms() + 1000 * (DEADLINE_S if deadline_s is None else deadline_s)
        executors: tuple[NodeId, ...] = ()
        why = "the ledger draws"
        if not size.is_drawn:
            candidates = tuple(one.node_id for one in self._peers.membership.candidates(kind))
            executors = choose_places(
                kind, self._own if kind in self._kinds else None, candidates, size
            )
            why = "one of several that do the same"
        rule = AgreementRule.ATTESTED if is_compared_by_meaning(kind) else AgreementRule.EQUAL
        operation = SubmitGroup(
            kind,
            content_hash(content),
            DEFAULT_REWARD if reward is None else reward,
            size.redundancy,
            size.agreement,
            rule,
            executors,
            deadline_ms,
        )
        async with self._account.turn:
            transaction = self._account.sign((operation,))
            group = task_id(transaction.id, 0)
            places = executors or (_UNKNOWN_NODE,) * size.redundancy
            asked = tuple(
                Asked(member_id(group, at), kind, content, one, deadline_ms, transaction.id, why)
                for at, one in enumerate(places)
            )
            await self._hand_in(transaction, asked)
        log.info("group placed", group=group.hex(), executors=[one.hex() for one in executors])
        return group

    async def _hand_in(self, transaction: Transaction, asked: Sequence[Asked]) -> None:
        """Note tasks, then hand in the transaction that asks for them. Raises `NotTakenError`."""
        names = [one.task for one in asked]
        for one in asked:
            self._driver.post(one)
        await self._driver.caught_up()
        try:
            await self._account.hand_in(transaction)
        except NotTakenError as error:
            self._refuse(names, str(error))
            raise
        self._nursery.start_soon(self._watch_submission, names, transaction.id)

    async def _watch_submission(self, tasks: Sequence[Digest], transaction: Digest) -> None:
        try:
            await self._account.settle(transaction)
        except NotTakenError as error:
            self._refuse(tasks, str(error))

    def _refuse(self, tasks: Sequence[Digest], reason: str) -> None:
        for task in tasks:
            self._driver.post(SubmitRefused(task, reason))

    async def cancel(self, task: Digest) -> None:
        """Take a task back if nobody has claimed it; returns when the desk has judged that."""
        self._driver.post(Cancelled(task))
        await self._driver.caught_up()

    def nobody_else(self, task: Digest) -> None:
        """No other node can have a task that may move."""
        self._driver.post(NobodyElse(task))

    def follow(self, task: Digest, follower: Follower) -> None:
        """Tell this one of a task from now on."""
        follower.name, self._followers[task] = task, follower

    def withdraw(self, task: Digest) -> None:
        """Nobody waits for a task any more: take it back if it is not claimed."""
        self._followers.pop(task, None)
        self._driver.post(Cancelled(task))

    # As executor

    def _has_claimed(self, task: Digest) -> bool:
        known = self._chain.engine.ledger.task(task)
        return (
            known is not None and known.state is TaskState.ASSIGNED and known.executor == self._own
        )

    def _unable(self, kind: str, content: bytes, reward: int) -> str | None:
        return self._chats.unable(content, reward) if kind == CHAT else None

    def lent(self, model: str, file: str) -> int:
        """How many of a model's slots are lent to peers."""
        return self._chats.in_hand(model, file)

    # Effects

    def _on_report(self, what: object) -> None:
        if isinstance(what, BlockExecuted):
            for event in what.result.events:
                if isinstance(event, TaskChanged):
                    self._driver.post(
                        LedgerChanged(Digest(event.task_id), event.transaction, what.block.height)
                    )
                    self._streams.wake(Digest(event.task_id))

    def _carry_out(self, effect: object) -> None:
        match effect:
            case Transact():
                self._nursery.start_soon(self._transact, effect.operation)
            case OfferTo():
                self._nursery.start_soon(self._offer, effect)
            case Work():
                self._nursery.start_soon(self._work, effect)
            case Answer():
                self._streams.answer(effect)
            case Notify(what=AskedTask() as record):
                self._tell(record)
            case Notify():
                pass
            case _:
                raise AssertionError(f"the task desk never asks for {effect!r}")

    def _tell(self, record: AskedTask) -> None:
        follower = self._followers.get(Digest(record.task))
        if follower is not None:
            follower.on_record(record)
            if not record.is_open:
                del self._followers[Digest(record.task)]

    async def _transact(self, operation: Operation) -> None:
        try:
            transaction = await self._account.transact(operation)
            await self._account.settle(transaction.id)
        except NotTakenError as error:
            level = log.warning if isinstance(operation, CompleteTask | FailTask) else log.info
            level("own transaction failed", operation=type(operation).__name__, reason=str(error))
            self._driver.post(TransactRefused(operation, str(error)))

    async def _offer(self, effect: OfferTo) -> None:
        name = Digest(effect.offer.task)
        try:
            async with (
                self._peers.reached(effect.executor),
                await self.link.open_stream(effect.executor, PROTOCOL) as stream,
                trio.open_nursery() as nursery,
            ):
                await send_offer(stream, effect.offer, effect.content)
                follower = self._followers.get(name)
                if follower is not None:
                    nursery.start_soon(_stop_when_told, stream, follower)
                async for reply, content in receive_replies(stream):
                    if isinstance(reply, Progress):
                        if follower is not None:
                            await follower.on_lines(reply.lines)
                    else:
                        self._driver.post(ReplyReceived(name, reply, content))
                        if isinstance(reply, Finished):
                            await self._countersign(stream, name, reply)
                nursery.cancel_scope.cancel()
        except* (TransportError, HandoffError) as errors:
            reason = f"the executor {effect.executor.hex()[:12]} was lost: {_first(errors)}"
            follower = self._followers.get(name)
            if follower is not None:
                follower.on_lost(reason)
            self._driver.post(ExchangeLost(name, reason))

    async def _countersign(self, stream: Stream, task: Digest, reply: Finished) -> None:
        """Once the desk has checked an output and it is on disk, its executor gets this node's signature."""
        await self._driver.caught_up()
        record = self.desk.find(task)
        if (
            record is not None
            and record.countersignature is not None
            and record.receipt == reply.signed
        ):
            await send_word(stream, Countersigned(record.countersignature))

    async def _work(self, effect: Work) -> None:
        timeout_s = effect.timeout_ms / 1000
        try:
            if effect.kind == CHAT:
                result = await self._chats.run(effect.task, effect.content, timeout_s)
            else:
                result = await self._backend.run(effect.kind, effect.content, timeout_s=timeout_s)
        except (BackendError, BadInput, UnknownKind) as error:
            self._driver.post(WorkFailed(effect.task, str(error)))
            return
        finally:
            if not self._streams.holds(effect.task):
                self._chats.forget(effect.task)
        usage = Usage(result.usage.items, result.usage.tokens, result.usage.duration_ms)
        model = bytes.fromhex(result.model_hash)
        self._driver.post(
            WorkDone(effect.task, result.output, model, usage, secrets.token_bytes(32))
        )


async def _stop_when_told(stream: Stream, follower: Follower) -> None:
    await follower.wants_stop.wait()
    await send_word(stream, Stop())


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
