"""A running node as the gateway sees it: the implementation of `node.views.facade.Facade`."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version

import msgspec
import trio
from msgspec import structs

from consensus.ledger.records import Role, TaskState
from consensus.ledger.records import Task as LedgerTask
from consensus.mempool import Added, Refused
from consensus.operations.transactions import (
    AdmitObserver,
    ApproveValidator,
    CompleteTask,
    Operation,
    SignedReceipt,
    Transaction,
    Transfer,
)
from consensus.operations.validators import register_validator
from consensus.receipts import TaskContent
from gossip.codec import Digest
from gossip.effects import Cause
from gossip.identity import NodeId, Signer
from gossip.json_form import to_json
from gossip.membership.invites import issue_invite
from gossip.membership.notices import PeerEntry
from gossip.transport import PeerStats, Totals
from inference.asker import AskedTask
from inference.kinds import encode_input, kind_of
from inference.placement import NoPlaceError
from node.chain.own_account import NotTakenError, OwnAccount, problem_of
from node.chain.queries import ChainQueries, matching
from node.chain.service import ChainService
from node.driver import now_ms
from node.peers.service import PeerService
from node.views.facade import Named, Problem, TaskRequest
from node.views.records import (
    AccountView,
    AdmissionView,
    BlocksView,
    BlockView,
    FoundView,
    InviteView,
    JsonObject,
    PeerView,
    RefusedView,
    RegistrationView,
    StatusView,
    TasksView,
    TaskView,
    TrafficView,
    TransactionView,
    TransportView,
    UsageView,
    ValidatorsView,
)
from node.work.outputs import output_json
from node.work.service import TaskService

VERSION = version("bizra-node")

_MAX_INVITE_ADDRESSES = 8
_PROOF_S = 2


class NodeService:
    """Answers from the parts of the node; see `Facade` for each method."""

    def __init__(
        self,
        *,
        name: str,
        identity: Signer,
        voting: Signer,
        chain: ChainService,
        peers: PeerService,
        tasks: TaskService,
        account: OwnAccount,
        silence: str | None = None,
    ) -> None:
        self._name, self._identity, self._voting = name, identity, voting
        self._silence = silence
        self._own = NodeId(identity.public)
        self._chain, self._peers, self._tasks, self._account = chain, peers, tasks, account
        self._engine = chain.engine
        self._queries = ChainQueries(chain.engine, chain)
        self.reputation_of: Callable[[NodeId], int | None] = _no_reputation
        """A node's score by the tasks on the chain, where this node keeps such scores."""

    # Questions

    @property
    def role(self) -> str:
        """What the federation says this node is: validator, observer or applicant."""
        if self._engine.replica.is_validator:
            return Role.VALIDATOR.value
        member = self._engine.ledger.member(self._own)
        return "applicant" if member is None else member.role.value

    @property
    def chain_id(self) -> Digest:
        """See `Facade.chain_id`."""
        return self._engine.ledger.genesis.federation_id

    def name_of(self, node: bytes) -> str | None:
        """What a node calls itself, if this one has heard."""
        if node == self._own:
            return self._name
        record = self._peers.membership.record_of(NodeId(node))
        return None if record is None else record.name

    def not_ready(self) -> str | None:
        """See `Facade.not_ready`."""
        if self.role == "applicant":
            return f"this node waits to be let in: on a validator, type: {self._admit_line}"
        if self._engine.is_syncing:
            return f"catching up, at height {self._engine.height}"
        members, is_there = self._engine.validators, self._peers.membership.is_there
        here = sum(
            seat.power
            for seat in members.validators
            if seat.node == self._own or is_there(NodeId(seat.node))
        )
        if not members.is_quorum(here):
            return f"validators with power {here} of {members.total} are in reach, no quorum"
        return None

    def status(self) -> StatusView:
        """See `Facade.status`."""
        engine, replica = self._engine, self._engine.replica
        return StatusView(
            node_id=self._own.hex(),
            name=self._name,
            federation_id=engine.ledger.genesis.federation_id.hex(),
            role=self.role,
            height=engine.height,
            epoch=replica.members.epoch,
            view=replica.view,
            primary=replica.leader.node.hex(),
            peers=len(self._peers.link.peers()),
            quorum=replica.members.quorum_power,
            faults_tolerated=replica.members.faults_tolerated,
            state_root=engine.ledger.state_root.hex(),
            block_hash=replica.tip.digest.hex(),
            pending_transactions=engine.mempool.size,
            version=VERSION,
            voting=self._votes_now(),
            refused=self._refused(),
            transport=_transport_view(self._peers.link.totals()),
        )

    def _refused(self) -> tuple[RefusedView, ...]:
        """What consensus, membership and topics have refused."""
        sums: Counter[tuple[NodeId, str]] = Counter()
        for peer, cause, count in (*self._chain.refusals.rows(), *self._peers.refusals.rows()):
            sums[peer, cause] += count
        return tuple(
            RefusedView(node_id=peer.hex(), reason=cause, count=count, usual=Cause(cause).is_usual)
            for (peer, cause), count in sorted(sums.items())
        )

    def _votes_now(self) -> str:
        """Whether this node votes, and if it should and doesn't, why not."""
        keys = self._engine.keys
        if keys.is_silenced:
            return self._silence or "no: the voting key was used elsewhere"
        if keys.is_waiting:
            return self._waiting()
        return "yes" if self._engine.replica.is_validator else "no"

    def _waiting(self) -> str:
        """Whoever runs a copy of a home reaches nobody: peers hold on to the connection that they have."""
        asks = "waits: asks the others for votes under its key"
        if self._peers.link.peers():
            return asks
        return f"{asks}, and reaches none of them; if a copy of this home runs elsewhere, they talk to that one"

    def find(self, what: Named, prefix: str) -> Sequence[str]:
        """See `Facade.find`; a node may also be a peer or an applicant."""
        found = set(self._queries.find(what, prefix))
        if what is Named.NODE:
            table, waiting = self._peers.membership.table(), self._peers.membership.applicants()
            found.update(matching((entry.node_id for entry in table), prefix))
            found.update(matching((one.node_id for one in waiting), prefix))
        if what is Named.TASK:
            found.update(matching((one.task for one in self._tasks.desk.asked()), prefix))
        return sorted(found)

    def transaction(self, tx_hash: Digest) -> TransactionView | None:
        """See `Facade.transaction`."""
        return self._queries.transaction(tx_hash)

    def receipt(self, tx_hash: Digest) -> JsonObject | None:
        """See `Facade.receipt`; the content goes with the receipt of a task that was asked here."""
        return self._queries.receipt(tx_hash, self._content_of(tx_hash))

    def _content_of(self, tx_hash: Digest) -> TaskContent | None:
        place = self._engine.chain.place_of(tx_hash)
        block = None if place is None else self._engine.chain.block(place.height)
        if place is None or block is None:
            return None
        for operation in block.transactions[place.index].body.operations:
            if isinstance(operation, CompleteTask):
                task = Digest(operation.signed.receipt.task)
                asked = self._tasks.desk.find(task)
                if asked is not None and asked.receipt == operation.signed:
                    return TaskContent(self._tasks.desk.input(task), self._tasks.desk.output(task))
        return None

    def account(self, owner: bytes) -> AccountView | None:
        """See `Facade.account`."""
        return self._queries.account(owner)

    async def account_proof(self, owner: bytes) -> JsonObject | None:
        """See `Facade.account_proof`; under load the moment is waited for in which the newest state is certified."""
        return await self._proof(lambda: self._queries.account_proof(owner))

    async def state_proof(self, key: bytes) -> JsonObject | None:
        """See `Facade.state_proof`; waits as `account_proof` does."""
        return await self._proof(lambda: self._queries.state_proof(key))

    async def states_proof(self, keys: Sequence[bytes]) -> JsonObject | None:
        """See `Facade.states_proof`; waits as `account_proof` does."""
        return await self._proof(lambda: self._queries.states_proof(keys))

    async def _proof(self, ask: Callable[[], JsonObject | None]) -> JsonObject | None:
        proof = ask()
        with trio.move_on_after(_PROOF_S if self._engine.height else 0):
            while proof is None:
                await self._chain.certified()
                proof = ask()
        return proof

    def block_proof(self, height: int) -> JsonObject | None:
        """See `Facade.block_proof`."""
        return self._queries.block_proof(height)

    def block(self, which: int | Digest) -> BlockView | None:
        """See `Facade.block`."""
        return self._queries.block(which)

    def blocks(self, before: int | None, limit: int) -> BlocksView:
        """See `Facade.blocks`."""
        return self._queries.blocks(before, limit)

    def validators(self) -> ValidatorsView:
        """See `Facade.validators`."""
        return self._queries.validators()

    def peers(self) -> tuple[PeerView, ...]:
        """See `Facade.peers`."""
        stats = self._peers.link.stats()
        return tuple(
            _peer_view(entry, stats.get(entry.node_id), self.reputation_of(entry.node_id))
            for entry in self._peers.membership.table()
        )

    def applicants(self) -> tuple[PeerView, ...]:
        """See `Facade.applicants`."""
        return tuple(
            PeerView(
                node_id=one.node_id.hex(),
                name=one.name,
                addresses=one.addresses,
                capabilities=(),
                status="alive" if one.connected else "dead",
                role="applicant",
                last_seen_ms=one.since_ms,
                rtt_ms=None,
            )
            for one in self._peers.membership.applicants()
        )

    def task(self, task_id: Digest) -> TaskView | None:
        """See `Facade.task`."""
        asked = self._tasks.desk.find(task_id)
        if asked is not None:
            return self._asked_view(asked, with_output=True)
        known = self._engine.ledger.task(task_id)
        if known is None:
            return None
        signature = self._tasks.desk.countersignature(task_id)
        return structs.replace(
            _ledger_view(task_id, known),
            countersignature=None if signature is None else signature.hex(),
        )

    def tasks(self, limit: int) -> TasksView:
        """See `Facade.tasks`: those asked here, then the others on the ledger."""
        asked = self._tasks.desk.asked()[:limit]
        own = {one.task for one in asked}
        others = [
            (name, task) for name, task in reversed(self._engine.ledger.tasks()) if name not in own
        ]
        views = [self._asked_view(one, with_output=False) for one in asked]
        views += [_ledger_view(name, task) for name, task in others[: limit - len(views)]]
        return TasksView(tasks=tuple(views))

    def _asked_view(self, asked: AskedTask, *, with_output: bool) -> TaskView:
        output = self._tasks.desk.output(Digest(asked.task)) if with_output else None
        return TaskView(
            task_id=asked.task.hex(),
            kind=asked.kind,
            status=asked.stage.value,
            executor=asked.executor.hex(),
            output=None if output is None else output_json(asked.kind, output),
            usage=_usage_view(asked.receipt),
            tx_hash=asked.last_tx.hex(),
            height=asked.last_height or None,
            receipt=_receipt_json(asked.receipt),
            reason=asked.reason or None,
            place=asked.why or None,
            countersignature=None
            if asked.countersignature is None
            else asked.countersignature.hex(),
            taken_over_by=None if asked.taken_over_by is None else asked.taken_over_by.hex(),
        )

    # Deeds

    async def submit(self, transactions: Sequence[Transaction]) -> Sequence[Added | Refused]:
        """See `Facade.submit`."""
        self.members_only()
        return await self._chain.submit(tuple(transactions))

    async def transfer(self, to: bytes, amount: int) -> TransactionView:
        """See `Facade.transfer`."""
        self.members_only()
        transaction = await self.transact(Transfer(to, amount))
        return TransactionView(tx_hash=transaction.id.hex(), status="pending")

    async def invite(self, ttl_ms: int) -> InviteView:
        """See `Facade.invite`."""
        self._validators_only("make invites")
        expires_ms = now_ms() + ttl_ms
        invite = issue_invite(
            self._identity,
            federation=self._engine.ledger.genesis.federation_id,
            invite_id=secrets.token_bytes(32),
            expires_ms=expires_ms,
            addresses=self._peers.link.addresses()[:_MAX_INVITE_ADDRESSES],
        )
        return InviteView(invite=str(invite), expires_at_ms=expires_ms)

    async def admit(self, node_id: NodeId, *, validator: bool) -> AdmissionView:
        """See `Facade.admit`: as a validator, a node is let in as well if it is not yet a member."""
        self._validators_only("admit nodes")
        operations: list[Operation] = []
        if self._engine.ledger.member(node_id) is None:
            operations.append(AdmitObserver(node_id, None))
        if validator:
            operations.append(ApproveValidator(node_id, self._voting_key_of(node_id)))
        if not operations:
            raise Problem(409, "already_member", "that node is a member of the federation already")
        transaction = await self.transact(*operations)
        return AdmissionView(
            node_id=node_id.hex(),
            role=(Role.VALIDATOR if validator else Role.OBSERVER).value,
            tx_hash=transaction.id.hex(),
            status="pending",
        )

    def _voting_key_of(self, node_id: NodeId) -> bytes:
        record = self._peers.membership.record_of(node_id)
        if record is None:
            raise Problem(
                409,
                "unknown_voting_key",
                "that node has told nobody its voting key yet; start it, and try again when "
                "`bizra-node peers` or `bizra-node peers --applicants` shows it",
            )
        return record.voting_key

    async def register_validator(self, name: str, stake: int) -> RegistrationView:
        """See `Facade.register_validator`."""
        self.members_only()
        wish = register_validator(self.chain_id, self._own, self._voting, name, stake)
        transaction = await self.transact(wish)
        try:
            await self._account.settle(transaction.id)
        except NotTakenError as error:
            raise Problem(422, error.code, f"the registration was refused: {error}") from None
        place = self._engine.chain.place_of(transaction.id)
        assert place is not None
        return RegistrationView(
            validator_id=self._own.hex(),
            status="registered",
            tx_hash=transaction.id.hex(),
            height=place.height,
        )

    async def submit_task(self, request: TaskRequest) -> TaskView:
        """See `Facade.submit_task`."""
        self.members_only()
        try:
            asked = await self._tasks.submit(
                kind_of(request.input),
                encode_input(request.input),
                executor=request.executor,
                reward=request.reward,
                deadline_s=request.deadline_s,
            )
        except NoPlaceError as error:
            raise Problem(409, "no_executor", str(error)) from None
        except NotTakenError as error:
            raise not_taken(error) from None
        return self._asked_view(asked, with_output=False)

    async def cancel_task(self, task_id: Digest) -> TaskView:
        """See `Facade.cancel_task`."""
        known = self._engine.ledger.task(task_id)
        asked = self._tasks.desk.find(task_id)
        if asked is None:
            raise Problem(404, "unknown_task", "this node did not ask for that task")
        if known is not None and known.state is not TaskState.QUEUED:
            raise Problem(
                409, "too_late", "the task is being worked on, or it has ended: see `task show`"
            )
        await self._tasks.cancel(task_id)
        cancelled = self._tasks.desk.find(task_id)
        assert cancelled is not None
        return self._asked_view(cancelled, with_output=False)

    async def transact(self, *operations: Operation) -> Transaction:
        """Sign operations with the node's own key and hand them in; returns when the transaction waits."""
        try:
            return await self._account.transact(*operations)
        except NotTakenError as error:
            raise not_taken(error) from None

    @property
    def _admit_line(self) -> str:
        return f"bizra-node admit {self._own.hex()}"

    def members_only(self) -> None:
        """Nobody takes anything from an applicant, so its user is told now and not after a wait."""
        if self.role == "applicant":
            raise Problem(
                403,
                "not_member",
                "this node waits to be let in and can send nothing yet; "
                f"on a validator, type: {self._admit_line}",
            )

    def _validators_only(self, what: str) -> None:
        if not self._engine.replica.is_validator:
            raise Problem(403, "not_validator", f"only validators {what}; this node is none")


def not_taken(error: NotTakenError) -> Problem:
    """What a caller is told of a transaction that the mempool refused."""
    return problem_of(error, f"the transaction was not taken: {error}")


def _peer_view(entry: PeerEntry, stats: PeerStats | None, reputation: int | None) -> PeerView:
    return PeerView(
        node_id=entry.node_id.hex(),
        name=entry.name,
        addresses=entry.addresses,
        capabilities=tuple(f"{one.kind}.{one.name}" for one in entry.capabilities),
        status=entry.status.value,
        role=entry.role or "applicant",
        last_seen_ms=entry.last_seen_ms or 0,
        rtt_ms=entry.rtt_ms,
        clock_offset_ms=entry.clock_offset_ms,
        load_per_mille=entry.load,
        version=entry.version,
        reputation=reputation,
        traffic=None if stats is None else _traffic_view(stats),
        found=tuple(FoundView(address=where, at_ms=at_ms) for where, at_ms in entry.found),
    )


def _traffic_view(stats: PeerStats) -> TrafficView:
    return TrafficView(
        address=stats.address,
        outbound=stats.outbound,
        messages_in=stats.frames_in,
        bytes_in=stats.bytes_in,
        messages_out=stats.frames_out,
        bytes_out=stats.bytes_out,
        dropped=stats.frames_dropped,
        queued_bytes=stats.queued_bytes,
        unread_bytes=stats.unread_bytes,
        memory_bytes=stats.memory_bytes,
        streams=stats.streams,
    )


def _transport_view(totals: Totals) -> TransportView:
    return TransportView(
        connections=totals.connections,
        memory_bytes=totals.memory_bytes,
        turned_away={why.value: count for why, count in sorted(totals.turned_away.items())},
    )


def _no_reputation(_: NodeId) -> int | None:
    return None


def _ledger_view(name: bytes, task: LedgerTask) -> TaskView:
    executor = task.executor or task.reserved_for
    return TaskView(
        task_id=name.hex(),
        kind=task.kind,
        status=task.state.value,
        executor=None if executor is None else executor.hex(),
        usage=_usage_view(task.receipt),
        tx_hash=task.submit_tx.hex(),
        height=task.submit_height,
        receipt=_receipt_json(task.receipt),
        reason=task.reason or None,
    )


def _usage_view(signed: SignedReceipt | None) -> UsageView | None:
    if signed is None:
        return None
    usage = signed.receipt.usage
    return UsageView(items=usage.items, tokens=usage.tokens, duration_ms=usage.duration_ms)


def _receipt_json(signed: SignedReceipt | None) -> JsonObject | None:
    if signed is None:
        return None
    receipt: JsonObject = msgspec.json.decode(to_json(signed))
    return receipt
