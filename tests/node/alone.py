"""A node without peers for tests: real keys, LevelDB, engine and gateway in one home.

What needs peers or models (peer table, invites, tasks) is recorded and answered from memory.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import trio

from consensus.engine import Engine, EngineEvent, Started, Submit
from consensus.intake import Submitted
from consensus.mempool import Added, Dropped, Refused
from consensus.operations.transactions import (
    AdmitObserver,
    ApproveValidator,
    Operation,
    Transaction,
    TransactionBody,
    Transfer,
    sign_transaction,
)
from consensus.operations.validators import register_validator
from consensus.pbft.reports import Prepared
from consensus.sync import stored_blocks
from gossip.codec import Digest, encode
from gossip.effects import Notify, Persist, Store
from gossip.identity import Ed25519Signer, Ed25519Verifier, NodeId
from inference.answer_cache import AnswerCache
from inference.backends.router import ModelRouter
from inference.cache import CacheKind
from inference.engine import AnswerEngine
from inference.kinds import kind_of
from node.chain.event_hub import EventHub
from node.chain.projector import Projector, open_projections
from node.chain.queries import ChainQueries, matching
from node.chain.read_models import ReadModels
from node.chain.registry import Registry
from node.config import DEFAULT_QUOTA_PER_S, ApiAddress
from node.driver import now_ms
from node.founding import load_genesis, prepare
from node.gateway.app import Doors, make_app, open_listener
from node.gateway.http.listening import serve
from node.models.backends import Backends
from node.storage.home import ApiFile, Home
from node.storage.shelf import DiskShelf
from node.storage.store import LevelStore, StagedStore
from node.tokens import Tokens
from node.views.facade import Named, Problem, TaskRequest
from node.views.records import (
    AccountView,
    AdmissionView,
    BlocksView,
    BlockView,
    InviteView,
    JsonObject,
    PeerView,
    RegistrationView,
    StatusView,
    TasksView,
    TaskView,
    TransactionView,
    UsageView,
    ValidatorsView,
)

CREATED_MS = 1_750_000_000_000
STRANGER = PeerView(
    node_id="ab" * 32,
    name="stranger",
    addresses=("/ip4/192.168.1.9/tcp/7430",),
    capabilities=("inference.embed",),
    status="alive",
    role="applicant",
    last_seen_ms=CREATED_MS,
    rtt_ms=1.5,
)


@dataclass
class Fates:
    durable_height: int
    prepared: frozenset[Digest]
    dropped: dict[Digest, Dropped]


class Alone:
    """The node of a founded home; implements the facade."""

    projector: Projector
    hub: EventHub

    def __init__(self, path: Path) -> None:
        home = Home(path)
        genesis = load_genesis(home)
        assert genesis is not None
        self.keys, self.genesis = prepare(home), genesis
        self._disks = {
            Store.CHAIN: LevelStore(home.chain),
            Store.VOTES: LevelStore(home.votes),
            Store.POOL: LevelStore(home.pool),
        }
        self._stores = {store: StagedStore(disk) for store, disk in self._disks.items()}
        self.engine = Engine(
            genesis=genesis,
            voting_key=self.keys.voting,
            verifier=Ed25519Verifier(),
            chain=self._stores[Store.CHAIN],
            votes=self._stores[Store.VOTES],
            pool=self._stores[Store.POOL],
        )
        self.fates = Fates(self.engine.height, frozenset(), {})
        self.queries = ChainQueries(self.engine, self.fates)
        self.requests: list[TaskRequest] = []
        self.waits_for: str | None = None
        self._tasks: dict[str, TaskView] = {}
        self.now_ms = CREATED_MS
        self.listeners: list[Callable[[object], None]] = []
        self._grown = trio.Event()
        self.handle(Started())

    def close(self) -> None:
        for disk in self._disks.values():
            disk.close()

    def handle(self, event: EngineEvent) -> list[object]:
        """One turn of the engine; its reports."""
        self.now_ms += 10
        reports: list[object] = []
        for effect in self.engine.handle(self.now_ms, event):
            match effect:
                case Persist():
                    self._stores[effect.store].stage(effect.writes)
                case Notify():
                    reports.append(effect.what)
                    if isinstance(effect.what, Prepared):
                        block = effect.what.block
                        self.fates.prepared = frozenset(one.id for one in block.transactions)
                    if isinstance(effect.what, Dropped):
                        self.fates.dropped[effect.what.transaction.id] = effect.what
                case _:
                    pass
        for store in self._stores.values():
            store.flush()
            store.settle()
        self.fates.durable_height = self.engine.height
        self._grown.set()
        self._grown = trio.Event()
        for report in reports:
            for listener in self.listeners:
                listener(report)
        return reports

    @property
    def chain_disk(self) -> LevelStore:
        return self._disks[Store.CHAIN]

    # The feed

    @property
    def durable_height(self) -> int:
        return self.fates.durable_height

    async def until_durable(self, height: int) -> None:
        while self.durable_height < height:
            await self._grown.wait()

    @property
    def certified_heights(self) -> range:
        return range(1, self.engine.chain.certified_height() + 1)

    def certified_blocks(self, first: int) -> bytes:
        return encode(stored_blocks(self.engine.chain, first, self.certified_heights.stop - 1))

    def certified_block(self, height: int) -> bytes | None:
        block = self.engine.chain.certified_block(height)
        return None if block is None else encode(block)

    def sign(self, *operations: Operation, signer: Ed25519Signer | None = None) -> Transaction:
        """A transaction with the next nonce, by the node itself unless told otherwise."""
        signer = signer or self.keys.identity
        nonce = self.engine.mempool.next_nonce(signer.node_id, self.engine.ledger)
        chain = self.genesis.federation_id
        return sign_transaction(
            signer, TransactionBody(chain, signer.node_id, nonce, 1000, operations)
        )

    def execute(self, *operations: Operation) -> Transaction:
        """Sign, submit, and let the federation of one decide."""
        transaction = self.sign(*operations)
        self.handle(Submit((transaction,)))
        return transaction

    def _executed(self, *operations: Operation) -> TransactionView:
        view = self.queries.transaction(self.execute(*operations).id)
        assert view is not None
        return view

    # The facade

    @property
    def chain_id(self) -> Digest:
        return self.genesis.federation_id

    def not_ready(self) -> str | None:
        return self.waits_for

    def status(self) -> StatusView:
        validators = self.engine.validators
        return StatusView(
            node_id=self.keys.identity.node_id.hex(),
            name="alone",
            federation_id=self.genesis.federation_id.hex(),
            role="validator",
            height=self.engine.height,
            epoch=validators.epoch,
            view=self.engine.replica.view,
            primary=self.engine.replica.leader.node.hex(),
            peers=0,
            quorum=validators.quorum_power,
            faults_tolerated=validators.faults_tolerated,
            state_root=self.engine.ledger.state_root.hex(),
            block_hash=self.engine.replica.tip.digest.hex(),
            pending_transactions=self.engine.mempool.size,
            version="0",
        )

    def find(self, what: Named, prefix: str) -> Sequence[str]:
        if what is Named.TASK:
            return matching(map(bytes.fromhex, self._tasks), prefix)
        return [
            *self.queries.find(what, prefix),
            *(
                [STRANGER.node_id]
                if what is Named.NODE and STRANGER.node_id.startswith(prefix)
                else []
            ),
        ]

    def transaction(self, tx_hash: Digest) -> TransactionView | None:
        return self.queries.transaction(tx_hash)

    def receipt(self, tx_hash: Digest) -> JsonObject | None:
        return self.queries.receipt(tx_hash)

    def account(self, owner: bytes) -> AccountView | None:
        return self.queries.account(owner)

    async def account_proof(self, owner: bytes) -> JsonObject | None:
        return self.queries.account_proof(owner)

    async def state_proof(self, key: bytes) -> JsonObject | None:
        return self.queries.state_proof(key)

    async def states_proof(self, keys: Sequence[bytes]) -> JsonObject | None:
        return self.queries.states_proof(keys)

    def block_proof(self, height: int) -> JsonObject | None:
        return self.queries.block_proof(height)

    def block(self, which: int | Digest) -> BlockView | None:
        return self.queries.block(which)

    def blocks(self, before: int | None, limit: int) -> BlocksView:
        return self.queries.blocks(before, limit)

    def validators(self) -> ValidatorsView:
        return self.queries.validators()

    def peers(self) -> tuple[PeerView, ...]:
        return ()

    def applicants(self) -> tuple[PeerView, ...]:
        return (STRANGER,)

    def task(self, task_id: Digest) -> TaskView | None:
        return self._tasks.get(task_id.hex())

    def tasks(self, limit: int) -> TasksView:
        return TasksView(tasks=tuple(self._tasks.values())[-limit:][::-1])

    async def submit(self, transactions: Sequence[Transaction]) -> Sequence[Added | Refused]:
        reports = self.handle(Submit(tuple(transactions)))
        return [
            answer
            for report in reports
            if isinstance(report, Submitted)
            for _, answer in report.answers
        ]

    async def transfer(self, to: bytes, amount: int) -> TransactionView:
        transaction = self.sign(Transfer(to, amount))
        (answer,) = await self.submit((transaction,))
        if isinstance(answer, Refused):
            raise Problem(422, answer.code.value, answer.reason)
        view = self.queries.transaction(transaction.id)
        assert view is not None
        return view

    async def invite(self, ttl_ms: int) -> InviteView:
        return InviteView(invite="bizra1-abcdefgh", expires_at_ms=self.now_ms + ttl_ms)

    async def admit(self, node_id: NodeId, *, validator: bool) -> AdmissionView:
        operation = (
            ApproveValidator(node_id, bytes(32)) if validator else AdmitObserver(node_id, None)
        )
        view = self._executed(operation)
        return AdmissionView(
            node_id=node_id.hex(),
            role="validator" if validator else "observer",
            tx_hash=view.tx_hash,
            status=view.status,
            reason=view.reason,
        )

    async def register_validator(self, name: str, stake: int) -> RegistrationView:
        chain, own = self.genesis.federation_id, self.keys.identity.node_id
        view = self._executed(register_validator(chain, own, self.keys.voting, name, stake))
        if view.status != "finalized":
            raise Problem(422, "already_validator", view.reason or "")
        assert view.height is not None
        return RegistrationView(
            validator_id=own.hex(), status="registered", tx_hash=view.tx_hash, height=view.height
        )

    async def submit_task(self, request: TaskRequest) -> TaskView:
        self.requests.append(request)
        task = TaskView(
            task_id=f"{len(self.requests):064x}",
            kind=kind_of(request.input),
            status="settled",
            executor=self.keys.identity.node_id.hex(),
            output={"answer": "yes"},
            usage=UsageView(items=1, tokens=2, duration_ms=3),
        )
        self._tasks[task.task_id] = task
        return task

    async def cancel_task(self, task_id: Digest) -> TaskView:
        raise Problem(409, "too_late", f"the task {task_id.hex()[:12]} has ended")


def _steady_ms() -> int:
    return int(1000 * trio.current_time())


@asynccontextmanager
async def serving(
    path: Path,
    models: ModelRouter | None = None,
    quota_per_s: int = DEFAULT_QUOTA_PER_S,
    backends: Backends | None = None,
) -> AsyncIterator[tuple[Alone, str]]:
    """The node with its gateway on a free port, announced in its home; and the URL."""
    home, node = Home(path), Alone(path)
    listener = open_listener(ApiAddress("127.0.0.1", 0))
    where = ApiFile(os.getpid(), *listener.getsockname()[:2])
    keys, rows = LevelStore(home.gateway, create=True), open_projections(home.projections)
    answers = LevelStore(home.answers, create=True)
    shelf = DiskShelf(CacheKind.RESPONSES, answers, now_ms)
    node.projector = Projector(rows, node.chain_disk, lambda: node.engine.ledger, node)
    node.hub = EventHub(node.chain_disk, node)
    node.listeners.append(node.hub.on_report)
    doors = Doors(
        feed=node,
        models=None if models is None else AnswerEngine(models, AnswerCache(shelf, _steady_ms)),
        backends=backends,
        reading=ReadModels(node.projector, node.chain_disk, lambda _: "alone"),
        hub=node.hub,
        # Questions alone: its deeds would need a service around the engine.
        registry=Registry(home, node.engine.keys, cast("Any", node), cast("Any", None)),
        keys=keys,
        quota_per_s=quota_per_s,
        tokens=Tokens(home.tokens),
    )
    app = make_app(node, token=home.read_token(), host="127.0.0.1", doors=doors)
    try:
        async with trio.open_nursery() as nursery:
            stop = trio.Event()
            nursery.start_soon(node.projector.run)
            nursery.start_soon(serve, app, listener, stop.wait)
            home.write_api(where)
            yield node, where.url
            stop.set()
            nursery.cancel_scope.cancel()
    finally:
        home.clear_api()
        rows.close()
        keys.close()
        answers.close()
        node.close()
