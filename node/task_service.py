"""Tasks in the daemon: carries out what the task desk asks for, with the real backend, streams and account."""

from __future__ import annotations

import secrets
from collections import Counter, deque
from dataclasses import dataclass, field

import structlog
import trio

from consensus.engine import BlockExecuted
from consensus.events import TaskChanged
from consensus.records import Task
from consensus.transactions import (
    CompleteTask,
    FailTask,
    Operation,
    SubmitTask,
    Usage,
    content_hash,
    task_id,
)
from gossip.codec import Digest
from gossip.effects import Notify, Store
from gossip.identity import NodeId, Signer, Verifier
from gossip.transport import Stream, Transport, TransportError
from inference.asker import AskedTask
from inference.backend import Backend, BackendError
from inference.desk_events import (
    Answer,
    Asked,
    Cancelled,
    ExchangeLost,
    LedgerChanged,
    OfferReceived,
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
from inference.handoff import (
    PROTOCOL,
    HandoffError,
    Reply,
    is_last,
    receive_offer,
    receive_replies,
    send_offer,
    send_reply,
)
from inference.kinds import BadInput, UnknownKind
from inference.lifecycle import TaskDesk
from inference.placement import choose_place
from node.chain_service import ChainService
from node.driver import CoreDriver, now_ms
from node.own_account import NotTakenError, OwnAccount
from node.peer_service import PeerService
from node.store import StagedStore

log = structlog.get_logger(__name__)

DEADLINE_S = 120
"""How long an executor has if the asker says nothing; `bizra-node task submit --help` names it."""
DEFAULT_REWARD = 100
_OFFER_TIMEOUT_S = 120.0
_OFFERS_AT_ONCE = 4
"""Offers of one member that are being received: each may hold an input in memory before it can be judged."""


@dataclass(slots=True)
class _OpenOffer:
    """A stream on which an offer waits for its answers; `scope` ends when the asker offers again."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    replies: deque[tuple[Reply, bytes]] = field(default_factory=deque)
    wake: trio.Event = field(default_factory=trio.Event)


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
    ) -> None:
        self._chain, self._peers, self._account = chain, peers, account
        self._backend, self._kinds, self._nursery = backend, kinds, nursery
        self._own = account.node_id
        ledger = chain.engine.ledger
        self.desk = TaskDesk(
            chain=ledger.genesis.federation_id,
            signer=identity,
            verifier=verifier,
            serves=lambda kind: kind in kinds,
            ledger_task=ledger.task,
            own_tasks=self._own_tasks,
            reader=store,
        )
        self._driver: CoreDriver[TaskEvent] = CoreDriver(
            self.desk.handle, TimerFired, self._carry_out, {Store.TASKS: store}
        )
        self._offers: dict[tuple[NodeId, Digest], _OpenOffer] = {}
        self._receiving: Counter[NodeId] = Counter()
        chain.listen(self._on_report)

    @property
    def link(self) -> Transport:
        """The way to other nodes."""
        return self._peers.link

    async def run(self) -> None:
        """Serve until cancelled."""
        self.link.serve(PROTOCOL, self._serve_offer)
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
        candidates = tuple(one.node_id for one in self._peers.membership.candidates(kind))
        place = choose_place(
            kind,
            own=self._own,
            serves=kind in self._kinds,
            candidates=candidates,
            wanted=executor,
        )
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
            self._driver.post(
                Asked(name, kind, content, place.executor, deadline_ms, transaction.id)
            )
            await self._driver.caught_up()
            try:
                await self._account.hand_in(transaction)
            except NotTakenError as error:
                self._driver.post(SubmitRefused(name, str(error)))
                raise
        self._nursery.start_soon(self._watch_submission, name, transaction.id)
        log.info("task placed", task=name.hex(), executor=place.executor.hex(), why=place.reason)
        record = self.desk.find(name)
        assert record is not None
        return record

    async def _watch_submission(self, task: Digest, transaction: Digest) -> None:
        try:
            await self._account.settle(transaction)
        except NotTakenError as error:
            self._driver.post(SubmitRefused(task, str(error)))

    async def cancel(self, task: Digest) -> None:
        """Take a task back if nobody has claimed it; returns when the desk has judged that."""
        self._driver.post(Cancelled(task))
        await self._driver.caught_up()

    # As executor

    async def _serve_offer(self, peer: NodeId, stream: Stream) -> None:
        """One stream of a member: the offer, then the desk's answers as they come."""
        if not self._peers.membership.is_member(peer):
            log.warning("offer of a stranger refused", peer=peer.hex())
            return
        if self._receiving[peer] >= _OFFERS_AT_ONCE:
            log.warning("too many offers of one member at once", peer=peer.hex())
            return
        self._receiving[peer] += 1
        try:
            with trio.fail_after(_OFFER_TIMEOUT_S):
                offer, content = await receive_offer(stream)
        except (HandoffError, trio.TooSlowError) as error:
            log.warning("offer broken off", peer=peer.hex(), reason=str(error))
            return
        finally:
            self._receiving[peer] -= 1
            if not self._receiving[peer]:
                del self._receiving[peer]
        name = (peer, Digest(offer.task))
        opened = _OpenOffer()
        older, self._offers[name] = self._offers.get(name), opened
        if older is not None:
            older.scope.cancel()
        self._driver.post(OfferReceived(peer, offer, content))
        try:
            with opened.scope:
                await _answer(stream, opened)
        finally:
            if self._offers.get(name) is opened:
                del self._offers[name]

    # Effects

    def _on_report(self, what: object) -> None:
        if isinstance(what, BlockExecuted):
            for event in what.result.events:
                if isinstance(event, TaskChanged):
                    self._driver.post(
                        LedgerChanged(Digest(event.task_id), event.transaction, what.block.height)
                    )

    def _carry_out(self, effect: object) -> None:
        match effect:
            case Transact():
                self._nursery.start_soon(self._transact, effect.operation)
            case OfferTo():
                self._nursery.start_soon(self._offer, effect)
            case Work():
                self._nursery.start_soon(self._work, effect)
            case Answer():
                opened = self._offers.get((effect.peer, effect.task))
                if opened is not None:
                    opened.replies.append((effect.reply, effect.content))
                    opened.wake.set()
            case Notify():
                pass
            case _:
                raise AssertionError(f"the task desk never asks for {effect!r}")

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
            stream = await self.link.open_stream(effect.executor, PROTOCOL)
            async with stream:
                await send_offer(stream, effect.offer, effect.content)
                async for reply, content in receive_replies(stream):
                    self._driver.post(ReplyReceived(name, reply, content))
        except (TransportError, HandoffError) as error:
            reason = f"the executor {effect.executor.hex()[:12]} was lost: {error}"
            self._driver.post(ExchangeLost(name, reason))

    async def _work(self, effect: Work) -> None:
        timeout_s = effect.timeout_ms / 1000
        try:
            result = await self._backend.run(effect.kind, effect.content, timeout_s=timeout_s)
        except (BackendError, BadInput, UnknownKind) as error:
            self._driver.post(WorkFailed(effect.task, str(error)))
            return
        usage = Usage(result.usage.items, result.usage.tokens, result.usage.duration_ms)
        model = bytes.fromhex(result.model_hash)
        self._driver.post(
            WorkDone(effect.task, result.output, model, usage, secrets.token_bytes(32))
        )


async def _answer(stream: Stream, opened: _OpenOffer) -> None:
    """Send replies until the last one is sent."""
    while True:
        while not opened.replies:
            await opened.wake.wait()
            opened.wake = trio.Event()
        reply, content = opened.replies.popleft()
        await send_reply(stream, reply, content)
        if is_last(reply):
            return
