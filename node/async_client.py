"""A typed client of a node's HTTP interface for programs under Trio or asyncio.

    async with Client(url) as client:
        view = await client.submit(transaction.raw)
        view = await client.await_transaction(view.tx_hash, timeout_s=10)
        proven = await client.proven_account(owner, genesis)

`from node.client import Client`: with `with` it is the one that the command line uses, with `async with` this one.
What begins with `proven` is checked against the genesis: of the node itself nothing need be believed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import anyio
import httpx2
import msgspec

from consensus.genesis import Genesis
from consensus.ledger.records import Account, Reputation, Task, TaskState
from consensus.ledger.state import Table
from consensus.messages import Transactions
from consensus.verify import Trust
from gossip.codec import Wire, encode
from gossip.identity import Ed25519Verifier
from node.answers import (
    Answer,
    StillWaitingError,
    decoded,
    more_of,
    refusal,
    unreachable,
)
from node.chain_audit.audits import AsyncAudit
from node.chain_audit.copy import Opening, Progress
from node.conversations import HEIGHT, Ask, Conversation, Reply
from node.event_stream import EventStream
from node.paths import path_part
from node.proven import ProvenAccount, ProvenBlock, ProvenRecord, ProvenTransaction
from node.proven_lists import ProvenPage, ProvenSeat, Questions
from node.views.lists import (
    AccountsView,
    ActiveValidatorView,
    EventsView,
    FairnessView,
    LeaderboardView,
    ProjectionsView,
    ReputationsView,
    TaskRowsView,
    TransactionsView,
)
from node.views.records import (
    AccountView,
    AdmissionView,
    BatchView,
    BlocksView,
    BlockView,
    InviteView,
    JsonObject,
    PeersView,
    StatusView,
    TasksView,
    TaskView,
    TransactionView,
    ValidatorsView,
)

Record = TypeVar("Record", bound=Wire)
Kept = TypeVar("Kept")

_TIMEOUT_S = 30.0
_LOOK_S = 1.0
_FINAL = frozenset({"finalized", "failed", "rejected", "expired"})
_ENDED = frozenset({"settled", "disputed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class _Ended(Generic[Kept]):
    value: Kept


def _step(conversation: Conversation[Kept], reply: Reply | None) -> Ask | _Ended[Kept]:
    """The next question of a conversation, or its end, which no thread could raise."""
    try:
        return next(conversation) if reply is None else conversation.send(reply)
    except StopIteration as end:
        return _Ended(end.value)


class AsyncClient:
    """One node's interface. Every method raises `NotReachableError` and `RefusedError`."""

    def __init__(self, url: str, read_token: Callable[[], str] | None = None) -> None:
        self.url, self._read_token = url, read_token
        # The environment's proxies are not for loopback.
        self._http = httpx2.AsyncClient(base_url=url, trust_env=False, timeout=_TIMEOUT_S)
        self._verifier = Ed25519Verifier()

    async def close(self) -> None:
        """Give the connections free."""
        await self._http.aclose()

    # Questions

    async def status(self) -> StatusView:
        """The node at a glance."""
        return await self._get("/api/v2/status", StatusView)

    async def peers(self) -> PeersView:
        """The peer table."""
        return await self._get("/api/v2/peers", PeersView)

    async def validators(self) -> ValidatorsView:
        """Who decides the next block."""
        return await self._get("/api/v2/validators", ValidatorsView)

    async def active_validators(self, limit: int | None = None) -> list[ActiveValidatorView]:
        """Who votes, the strongest first: all, or a few."""
        path = "active" if limit is None else f"top?limit={limit}"
        return await self._get(f"/api/v2/validators/{path}", list[ActiveValidatorView])

    async def account(self, name: str) -> AccountView:
        """A balance and the next nonce."""
        return await self._get(f"/api/v2/accounts/{path_part(name)}", AccountView)

    async def accounts(self, limit: int = 20, after: str | None = None) -> AccountsView:
        """A page of accounts, the richest first."""
        return await self._get(f"/api/v2/accounts{_page(limit, after)}", AccountsView)

    async def transactions(
        self, account: str | None = None, limit: int = 20, after: str | None = None
    ) -> TransactionsView:
        """A page of executed transactions, newest first: all, or those that name an account."""
        place = "" if account is None else f"accounts/{path_part(account)}/"
        path = f"/api/v2/{place}transactions{_page(limit, after)}"
        return await self._get(path, TransactionsView)

    async def transaction(self, name: str) -> TransactionView:
        """Where a transaction stands."""
        return await self._get(f"/api/v2/transactions/{path_part(name)}", TransactionView)

    async def block(self, name: str) -> BlockView:
        """A block by height or hash."""
        return await self._get(f"/api/v2/blocks/{path_part(name)}", BlockView)

    async def blocks(self, limit: int = 20, before: int | None = None) -> BlocksView:
        """The newest blocks, or those below a height."""
        below = "" if before is None else f"&before={before}"
        return await self._get(f"/api/v2/blocks?limit={limit}{below}", BlocksView)

    async def task(self, name: str) -> TaskView:
        """A task, with its output if the node asked for it."""
        return await self._get(f"/api/v2/tasks/{path_part(name)}", TaskView)

    async def tasks(self, limit: int = 20) -> TasksView:
        """The newest tasks, the node's own first."""
        return await self._get(f"/api/v2/tasks?limit={limit}", TasksView)

    async def ledger_tasks(
        self,
        *,
        state: str | None = None,
        owner: str | None = None,
        executor: str | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> TaskRowsView:
        """A page of tasks on the ledger, newest first, by one of state, owner and executor."""
        given = {"state": state, "owner": owner, "executor": executor}
        chosen = "".join(
            f"&{name}={path_part(value)}" for name, value in given.items() if value is not None
        )
        path = f"/api/v2/ledger/tasks{_page(limit, after)}{chosen}"
        return await self._get(path, TaskRowsView)

    async def leaderboard(self, limit: int = 20, after: str | None = None) -> LeaderboardView:
        """Who earned the most by tasks."""
        return await self._get(f"/api/v2/leaderboard{_page(limit, after)}", LeaderboardView)

    async def reputations(self, limit: int = 20, after: str | None = None) -> ReputationsView:
        """Who ends reliably what it claims, the best first."""
        return await self._get(f"/api/v2/reputation{_page(limit, after)}", ReputationsView)

    async def fairness(self) -> FairnessView:
        """How evenly rewards fall."""
        return await self._get("/api/v2/fairness", FairnessView)

    async def projections(self) -> ProjectionsView:
        """The read models, and how far each is made."""
        return await self._get("/api/v2/projections", ProjectionsView)

    async def event_log(self, after: str = "0", limit: int = 100) -> EventsView:
        """A page of the event log, oldest first."""
        return await self._get(f"/api/v2/events/log?after={after}&limit={limit}", EventsView)

    # Answers checked against the genesis; each raises `NotProvenError` if it doesn't hold

    async def proven_account(self, owner: bytes, genesis: Genesis) -> ProvenAccount:
        """What an account holds, or that it doesn't exist."""
        return await self.hold(Questions(genesis, self._verifier).account(owner))

    async def proven_transaction(self, name: bytes, genesis: Genesis) -> ProvenTransaction:
        """What came of a transaction."""
        return await self.hold(Questions(genesis, self._verifier).transaction(name))

    async def proven_block(self, which: str, genesis: Genesis) -> ProvenBlock:
        """That a block, by its height or whole hash, was committed."""
        return await self.hold(Questions(genesis, self._verifier).block(which))

    async def proven_record(
        self, table: Table[Record], name: bytes, genesis: Genesis
    ) -> ProvenRecord[Record]:
        """What a record of the ledger says, or that there is none.

        The table is one of those in `consensus.ledger.tables.PROVABLE`; validators and parameters are named `THE_ONE`.
        """
        return await self.hold(Questions(genesis, self._verifier).record(table, name))

    async def proven_accounts(
        self, genesis: Genesis, limit: int = 20, after: str | None = None
    ) -> ProvenPage[tuple[bytes, Account]]:
        """A page of accounts with what they hold, the richest first."""
        return await self.hold(Questions(genesis, self._verifier).accounts(limit, after))

    async def proven_tasks(
        self,
        genesis: Genesis,
        *,
        state: TaskState | None = None,
        owner: bytes | None = None,
        executor: bytes | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> ProvenPage[tuple[bytes, Task]]:
        """A page of tasks as the ledger has them, by one of state, owner and executor."""
        questions = Questions(genesis, self._verifier)
        return await self.hold(
            questions.tasks(limit, after, state=state, owner=owner, executor=executor)
        )

    async def proven_reputations(
        self, genesis: Genesis, limit: int = 20, after: str | None = None
    ) -> ProvenPage[tuple[bytes, Reputation]]:
        """A page of how nodes have done, the best first."""
        return await self.hold(Questions(genesis, self._verifier).reputations(limit, after))

    async def proven_transactions(
        self,
        genesis: Genesis,
        account: bytes | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> ProvenPage[ProvenTransaction]:
        """A page of executed transactions with their receipts: all, or those that name an account."""
        questions = Questions(genesis, self._verifier)
        return await self.hold(questions.transactions(account, limit, after))

    async def proven_blocks(
        self, genesis: Genesis, limit: int = 20, before: int | None = None
    ) -> tuple[ProvenBlock, ...]:
        """The newest blocks, or those below a height; none is left out between them."""
        return await self.hold(Questions(genesis, self._verifier).blocks(limit, before))

    async def proven_validators(self, genesis: Genesis) -> tuple[ProvenSeat, ...]:
        """All who vote after the newest block, with their stakes, the strongest first."""
        return await self.hold(Questions(genesis, self._verifier).validators())

    def audit(
        self,
        directory: Path,
        genesis: Genesis,
        trust: Trust | None = None,
        progress: Progress | None = None,
    ) -> AsyncAudit:
        """Follow the whole chain from the genesis, in a copy of one's own, and hold the node's lists against it."""
        return AsyncAudit(self.hold, Opening(directory, genesis, trust, progress))

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
                asked.method, asked.path, content=asked.content, headers=asked.headers
            ) as response:
                async for piece in response.aiter_bytes():
                    more_of(body, piece, response)
        except httpx2.TransportError as error:
            raise unreachable(self.url, error, _TIMEOUT_S) from None
        if not response.is_success:
            raise refusal(response, bytes(body))
        return Reply.of(bytes(body), response.headers.get(HEIGHT))

    # Deeds

    async def submit(self, raw: bytes) -> TransactionView:
        """Hand in a signed transaction; needs no token."""
        return await self._post("/api/v2/transactions", {"raw": raw.hex()}, TransactionView)

    async def submit_many(self, raw: Sequence[bytes]) -> BatchView:
        """Hand in up to 2,000 signed transactions at once."""
        content = encode(Transactions(tuple(raw)))
        response = await self._send("POST", "/api/v2/transactions/batch", content)
        return decoded(response, BatchView)

    async def transfer(self, to: str, amount: int, key: str | None = None) -> TransactionView:
        """Pay from the node's own account; with a `key`, once however often it is asked."""
        wanted = {"to": to, "amount": str(amount)}
        return await self._deed("/api/v2/transfers", wanted, TransactionView, key)

    async def invite(self, ttl_ms: int) -> InviteView:
        """Make an invite for one node."""
        return await self._deed("/api/v2/invites", {"ttl_ms": ttl_ms}, InviteView)

    async def admit(self, node_id: str, *, validator: bool) -> AdmissionView:
        """Let a node in, or speak for it as a validator."""
        wanted = {"node_id": node_id, "validator": validator}
        return await self._deed("/api/v2/admissions", wanted, AdmissionView)

    async def submit_task(
        self, kind: str, given: JsonObject, *, reward: int | None = None, key: str | None = None
    ) -> TaskView:
        """Hand in a task; `given` is the input of its kind."""
        request: JsonObject = {"kind": kind, "input": given}
        if reward is not None:
            request["reward"] = str(reward)
        return await self._deed("/api/v2/tasks", request, TaskView, key)

    async def cancel_task(self, name: str) -> TaskView:
        """Take back a task that nobody works on."""
        response = await self._send("DELETE", f"/api/v2/tasks/{path_part(name)}", owner=True)
        return decoded(response, TaskView)

    async def rebuild_projection(self, name: str) -> ProjectionsView:
        """Make a read model anew, beside everything else."""
        path = f"/api/v2/projections/{path_part(name)}/rebuild"
        return await self._deed(path, {}, ProjectionsView)

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
        query = "".join(f"&{name}={value}" for name, value in given.items() if value is not None)
        return EventStream(self.url, query)

    async def await_transaction(self, tx_hash: str, timeout_s: float) -> TransactionView:
        """Wait until a transaction has come to its end. Raises `StillWaitingError`."""
        with anyio.move_on_after(timeout_s):
            async with self.events(transaction=tx_hash) as happenings:
                # Whatever happens from here on is heard; what has happened before is asked for.
                view = await self.transaction(tx_hash)
                while view.status not in _FINAL:
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
                while view.taken_over_by is not None or view.status not in _ENDED:
                    if view.taken_over_by is None:
                        with anyio.move_on_after(_LOOK_S):
                            await anext(happenings, None)
                    view = await self.task(view.taken_over_by or view.task_id)
                return view
        raise StillWaitingError(f"the task {task_id} has not ended after {timeout_s:g} s")

    async def _get(self, path: str, kind: type[Answer]) -> Answer:
        return decoded(await self._send("GET", path), kind)

    async def _post(self, path: str, content: JsonObject, kind: type[Answer]) -> Answer:
        return decoded(await self._send("POST", path, msgspec.json.encode(content)), kind)

    async def _deed(
        self, path: str, content: JsonObject, kind: type[Answer], key: str | None = None
    ) -> Answer:
        headers = {} if key is None else {"Idempotency-Key": key}
        body = msgspec.json.encode(content)
        return decoded(await self._send("POST", path, body, headers, owner=True), kind)

    async def _send(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        owner: bool = False,
    ) -> httpx2.Response:
        sent = dict(headers or {})
        if content is not None:
            sent["Content-Type"] = "application/json"
        if owner and self._read_token is not None:
            sent["Authorization"] = f"Bearer {self._read_token()}"
        try:
            return await self._http.request(method, path, content=content, headers=sent)
        except httpx2.TransportError as error:
            raise unreachable(self.url, error, _TIMEOUT_S) from None


def _page(limit: int, after: str | None) -> str:
    return f"?limit={limit}" if after is None else f"?limit={limit}&after={after}"
