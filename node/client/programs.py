"""A typed client of a node's HTTP interface for programs under Trio or asyncio.

`from node.client import Client`: with `with` it is the one that the command line uses, with `async with` this one.
What begins with `proven` is checked against the genesis: of the node itself nothing need be believed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Concatenate, Generic, ParamSpec, TypeVar

import anyio
import httpx2

from consensus.genesis import Genesis
from consensus.verify import Trust
from node.client.answers import StillWaitingError, more_of, unreachable
from node.client.audit.audits import AsyncAudit
from node.client.audit.copy import Opening, Progress
from node.client.carrying import TIMEOUT_S, Caller, as_method, reply_to
from node.client.conversations import Ask, Conversation, Reply
from node.client.event_stream import EventStream
from node.client.paths import query
from node.client.questions import chain, house, lists, proofs, work
from node.client.questions.chain import FINAL_TRANSACTION
from node.client.questions.work import FINAL_TASK
from node.views.records import TaskView, TransactionView

Kept = TypeVar("Kept")
P = ParamSpec("P")

_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class _Ended(Generic[Kept]):
    value: Kept


def _step(conversation: Conversation[Kept], reply: Reply | None) -> Ask | _Ended[Kept]:
    """The next question of a conversation, or its end, which no thread could raise."""
    try:
        return next(conversation) if reply is None else conversation.send(reply)
    except StopIteration as end:
        return _Ended(end.value)


class AsyncCarrier(Caller):
    """Carries conversations under an event loop."""

    def __init__(self, url: str, read_token: Callable[[], str] | None = None) -> None:
        super().__init__(url, read_token)
        # The environment's proxies are not for loopback.
        self._http = httpx2.AsyncClient(base_url=url, trust_env=False, timeout=TIMEOUT_S)

    async def close(self) -> None:
        """Give the connections free."""
        await self._http.aclose()

    async def hold(self, conversation: Conversation[Kept], *, in_thread: bool = False) -> Kept:
        """Hold a conversation with the node to its end; in a thread what it thinks of the answers, if that is much."""
        step = partial(_step, conversation)
        reply: Reply | None = None
        while True:
            asked = await anyio.to_thread.run_sync(step, reply) if in_thread else step(reply)
            if isinstance(asked, _Ended):
                return asked.value
            reply = await self._told(asked)

    async def _told(self, asked: Ask) -> Reply:
        if asked.pause_s:
            await anyio.sleep(asked.pause_s)
        body = bytearray()
        try:
            async with self._http.stream(
                asked.method, asked.path, content=asked.content, headers=self._headers(asked)
            ) as response:
                async for piece in response.aiter_bytes():
                    more_of(body, piece, response)
        except httpx2.TransportError as error:
            raise unreachable(self.url, error, TIMEOUT_S) from None
        return reply_to(asked, response, bytes(body))


def _held(
    ask: Callable[P, Conversation[Kept]],
) -> Callable[Concatenate[AsyncCarrier, P], Awaitable[Kept]]:
    """A question as a method of a client for programs."""

    @wraps(ask)
    async def method(self: AsyncCarrier, /, *args: P.args, **kwargs: P.kwargs) -> Kept:
        return await self.hold(ask(*args, **kwargs))

    return as_method(method, ask)


class AsyncClient(AsyncCarrier):
    """One node's interface. Every method raises `NotReachableError` and `RefusedError`."""

    # The node itself

    not_ready = _held(house.not_ready)
    status = _held(house.status)
    peers = _held(house.peers)
    leave = _held(house.leave)
    tokens = _held(house.tokens)
    create_token = _held(house.create_token)
    revoke_token = _held(house.revoke_token)
    models = _held(house.models)
    backends = _held(house.backends)
    add_backend = _held(house.add_backend)
    remove_backend = _held(house.remove_backend)
    caches = _held(house.caches)
    clear_caches = _held(house.clear_caches)
    contents = _held(house.contents)
    remove_content = _held(house.remove_content)
    snapshots = _held(house.snapshots)
    publish = _held(house.publish)

    # The ledger

    account = _held(chain.account)
    block = _held(chain.block)
    blocks = _held(chain.blocks)
    transaction = _held(chain.transaction)
    receipt = _held(chain.receipt)
    submit = _held(chain.submit)
    submit_many = _held(chain.submit_many)
    transfer = _held(chain.transfer)
    validators = _held(chain.validators)
    registry = _held(chain.registry)
    register_validator = _held(chain.register_validator)
    validator_deed = _held(chain.validator_deed)
    parameters = _held(chain.parameters)
    approve_parameter = _held(chain.approve_parameter)
    invite = _held(chain.invite)
    admit = _held(chain.admit)
    expel = _held(chain.expel)

    # Read models

    accounts = _held(lists.accounts)
    transactions = _held(lists.transactions)
    active_validators = _held(lists.active_validators)
    ledger_tasks = _held(lists.ledger_tasks)
    leaderboard = _held(lists.leaderboard)
    reputations = _held(lists.reputations)
    reputation = _held(lists.reputation)
    fairness = _held(lists.fairness)
    event_log = _held(lists.event_log)
    projections = _held(lists.projections)
    rebuild_projection = _held(lists.rebuild_projection)

    # Work

    task = _held(work.task)
    tasks = _held(work.tasks)
    submit_task = _held(work.submit_task)
    cancel_task = _held(work.cancel_task)
    offer_kinds = _held(work.offer_kinds)
    submit_group = _held(work.submit_group)
    group = _held(work.group)
    submit_spread = _held(work.submit_spread)
    spread = _held(work.spread)
    spreads = _held(work.spreads)
    drop_spread = _held(work.drop_spread)
    queue = _held(work.queue)
    queued = _held(work.queued)
    withdraw = _held(work.withdraw)
    decide = _held(work.decide)
    trust = _held(work.trust)
    check_peer = _held(work.check_peer)
    forgive = _held(work.forgive)

    # Checked against the genesis; each raises `NotProvenError` if the answer doesn't hold

    proven_account = _held(proofs.proven_account)
    proven_transaction = _held(proofs.proven_transaction)
    proven_block = _held(proofs.proven_block)
    proven_record = _held(proofs.proven_record)
    proven_accounts = _held(proofs.proven_accounts)
    proven_tasks = _held(proofs.proven_tasks)
    proven_reputations = _held(proofs.proven_reputations)
    proven_transactions = _held(proofs.proven_transactions)
    proven_blocks = _held(proofs.proven_blocks)
    proven_validators = _held(proofs.proven_validators)

    def audit(
        self,
        directory: Path,
        genesis: Genesis,
        trust: Trust | None = None,
        progress: Progress | None = None,
    ) -> AsyncAudit:
        """Follow the whole chain from the genesis, in a copy of one's own, and hold the node's lists against it."""
        return AsyncAudit(self.hold, Opening(directory, genesis, trust, progress))

    # What happens

    def events(
        self,
        *,
        transaction: str | None = None,
        account: str | None = None,
        task: str | None = None,
        after: str | None = None,
    ) -> EventStream:
        """Subscribe: to one transaction, account or task, or to everything; from now on, or behind a cursor."""
        given = {"transaction": transaction, "account": account, "task": task, "after": after}
        return EventStream(self.url, query(given))

    async def await_transaction(self, tx_hash: str, timeout_s: float) -> TransactionView:
        """Wait until a transaction has come to its end. Raises `StillWaitingError`."""
        with anyio.move_on_after(timeout_s):
            async with self.events(transaction=tx_hash) as happenings:
                # Whatever happens from here on is heard; what has happened before is asked for.
                view = await self.transaction(tx_hash)
                while view.status not in FINAL_TRANSACTION:
                    with anyio.move_on_after(_LOOK_S):
                        await anext(happenings, None)
                    view = await self.transaction(tx_hash)
                return view
        raise StillWaitingError(f"the transaction {tx_hash} is not final after {timeout_s:g} s")

    async def await_task(self, task_id: str, timeout_s: float) -> TaskView:
        """Wait until a task has come to its end, or the one that took its place. Raises `StillWaitingError`."""
        with anyio.move_on_after(timeout_s):
            async with self.events(task=task_id) as happenings:
                view = await self.task(task_id)
                while view.taken_over_by is not None or view.status not in FINAL_TASK:
                    if view.taken_over_by is None:
                        with anyio.move_on_after(_LOOK_S):
                            await anext(happenings, None)
                    view = await self.task(view.taken_over_by or view.task_id)
                return view
        raise StillWaitingError(f"the task {task_id} has not ended after {timeout_s:g} s")
