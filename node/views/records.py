"""What the HTTP interface and the command line show: frozen views, named as their JSON is.

Ids and hashes are lower-case hex, amounts decimal strings. Keys may be added, never changed.
"""

from __future__ import annotations

from typing import Any

import msgspec

JsonObject = dict[str, Any]
"""A JSON object whose fields are described where it is made."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all views. Unknown keys are skipped, so an old client reads a newer node."""


class HealthView(View, frozen=True):
    """The process answers."""

    status: str


class ReadinessView(View, frozen=True):
    """Whether the node can do its work, and why not."""

    ready: bool
    reason: str | None = None


class RefusedView(View, frozen=True):
    """How many messages of a peer were refused for one reason since the node started.

    `usual` are reasons for which honest peers are refused as well, where messages cross or come late.
    """

    node_id: str
    reason: str
    count: int
    usual: bool


class TransportView(View, frozen=True):
    """All connections together, those of strangers among them: how many, and what their buffers hold.

    `turned_away` counts by reason who was shown out since the start.
    """

    connections: int
    memory_bytes: int
    turned_away: dict[str, int]


class StatusView(View, frozen=True):
    """A node at a glance. `peers` counts those that are connected; `primary` is a node id.

    `role` is validator, observer or applicant. A node that waits to be let in knows no block.
    """

    node_id: str
    name: str
    federation_id: str | None
    role: str
    height: int
    epoch: int
    view: int
    primary: str | None
    peers: int
    quorum: int
    faults_tolerated: int
    state_root: str | None
    block_hash: str | None
    pending_transactions: int
    version: str
    voting: str = ""
    """"yes", or why a validator does not vote; "no" for the others."""
    refused: tuple[RefusedView, ...] = ()
    transport: TransportView | None = None


class TrafficView(View, frozen=True):
    """What has passed between this node and a connected peer since it connected; bytes are those of payloads.

    `dropped` are messages that found its queue full. `queued_bytes` wait to be sent to it, `unread_bytes` came from it
    and wait here; `memory_bytes` are both. `streams` are open on its connection.
    """

    address: str
    outbound: bool
    messages_in: int
    bytes_in: int
    messages_out: int
    bytes_out: int
    dropped: int
    queued_bytes: int
    unread_bytes: int = 0
    memory_bytes: int = 0
    streams: int = 0


class FoundView(View, frozen=True):
    """An address where a node was found, and when last (Unix time; 0: before such times were kept)."""

    address: str
    at_ms: int


class PeerView(View, frozen=True):
    """A known node. `status` is alive, suspect, dead or left; times are Unix time.

    `clock_offset_ms` is its clock minus this machine's, as it last answered a ping. Capabilities and load are
    what it said in the last two minutes. `reputation` is its score by the tasks on the chain, 0 to 1000; `traffic`
    is there while it is connected. `found` are the addresses where this node has reached it, the last one first.
    """

    node_id: str
    name: str
    addresses: tuple[str, ...]
    capabilities: tuple[str, ...]
    status: str
    role: str
    last_seen_ms: int
    rtt_ms: float | None
    clock_offset_ms: int | None = None
    load_per_mille: int = 0
    version: str = ""
    reputation: int | None = None
    traffic: TrafficView | None = None
    found: tuple[FoundView, ...] = ()


class PeersView(View, frozen=True):
    """The peer table, or the nodes that ask to be let in."""

    peers: tuple[PeerView, ...]


class TransactionView(View, frozen=True):
    """Where a transaction stands.

    `status` is pending, included, finalized, failed, rejected or expired. Included: in a prepared
    block, may return to pending. Failed: final, but its execution was refused for `reason`.
    """

    tx_hash: str = msgspec.field(name="txHash")
    status: str
    height: int | None = None
    block_hash: str | None = msgspec.field(name="blockHash", default=None)
    reason: str | None = None


class RefusalView(View, frozen=True):
    """A transaction of a batch that was not taken."""

    tx_hash: str = msgspec.field(name="txHash")
    code: str
    reason: str


class BatchView(View, frozen=True):
    """How many of a batch wait now, and what was refused."""

    taken: int
    refused: tuple[RefusalView, ...]


class BlockView(View, frozen=True):
    """A final block. `transactions` are their hashes; `certificate` holds the COMMIT votes."""

    height: int
    hash: str
    prev_hash: str
    proposer: str
    view: int
    epoch: int
    timestamp_ms: int
    state_root: str
    transactions: tuple[str, ...]
    certificate: JsonObject


class BlocksView(View, frozen=True):
    """Blocks, newest first. `next_before` asks for the page after this one; None at the end."""

    blocks: tuple[BlockView, ...]
    next_before: int | None


class AccountView(View, frozen=True):
    """An account. `nonce` is what its next transaction needs, those that wait counted in."""

    id: str
    balance: str
    nonce: int


class ValidatorView(View, frozen=True):
    """One seat."""

    node_id: str
    voting_key: str
    power: int


class ValidatorsView(View, frozen=True):
    """The set that decides the next block, in seat order. `hash` is what `verify --trust EPOCH:HASH` pins."""

    epoch: int
    quorum: int
    total_power: int
    faults_tolerated: int
    validators: tuple[ValidatorView, ...]
    hash: str = ""


class RegisteredView(View, frozen=True):
    """A validator or candidate. `state` is active, condemned, approved or registered, or former while money is locked.

    `stake` is its own, `delegated` what others have bound to it, `unbonding` what is on its way back.
    """

    id: str
    name: str
    state: str
    stake: str
    delegated: str
    unbonding: str
    power: int
    voting_key: str | None


class RegistryView(View, frozen=True):
    """All validators and candidates, in the order of their ids."""

    validators: tuple[RegisteredView, ...]


class DeedView(View, frozen=True):
    """An operation of this node that was executed; `pending` if it was not within the patience of the interface."""

    operation: str
    status: str
    tx_hash: str


class ParametersView(View, frozen=True):
    """The federation's constants in force, and which of them its validators can change."""

    parameters: JsonObject
    protocol_version: int
    changeable: tuple[str, ...]


class UsageView(View, frozen=True):
    """What a task took, in the units of its kind."""

    items: int
    tokens: int
    duration_ms: int


class TaskView(View, frozen=True):
    """A task. `output` is JSON for its asker alone; `txHash` and `height` are of its last change.

    `status` is queued, assigned, running, settled, disputed, failed or cancelled. `reason` says why
    it failed, `place` why its asker chose this executor. `countersignature` is the
    asker's under the receipt, for the two who have it. `taken_over_by` is the task that
    another node got with the same input when this one's executor had vanished.
    """

    task_id: str
    kind: str
    status: str
    executor: str | None = None
    output: JsonObject | None = None
    usage: UsageView | None = None
    tx_hash: str | None = msgspec.field(name="txHash", default=None)
    height: int | None = None
    receipt: JsonObject | None = None
    reason: str | None = None
    place: str | None = None
    countersignature: str | None = None
    taken_over_by: str | None = None


class TasksView(View, frozen=True):
    """Tasks, newest first."""

    tasks: tuple[TaskView, ...]


class GroupView(View, frozen=True):
    """The same task for several nodes. `verdict` is pending, refused, open, agreed or inconclusive.

    `rule` is equal or attested, `agreement` how many must agree; `drawn` says that the ledger chose the executors.
    """

    group_id: str
    verdict: str
    agreement: int | None = None
    rule: str | None = None
    drawn: bool | None = None
    deadline_ms: int | None = None
    tasks: tuple[TaskView, ...] = ()


class OfferingView(View, frozen=True):
    """What the ledger may give this node, once the transaction is final."""

    kinds: tuple[str, ...]
    tx_hash: str = msgspec.field(name="txHash")
    status: str


class ContentView(View, frozen=True):
    """A content in the node's store; it is whole when `present_bytes` is its size."""

    content_id: str
    size_bytes: int
    present_bytes: int
    kept: bool


class ContentsView(View, frozen=True):
    """All of them, and how much of its bound the store uses."""

    contents: tuple[ContentView, ...]
    used_bytes: int
    max_bytes: int


class FetchView(View, frozen=True):
    """How far a fetch has come.

    `sources` says how many bytes came from whom, `dropped` who is asked no more and why, `reason` why it ended in vain.
    """

    content_id: str
    size_bytes: int
    present_bytes: int
    wire_bytes: int
    sources: dict[str, int]
    dropped: dict[str, str]
    done: bool
    reason: str | None


class BackendModelView(View, frozen=True):
    """A model of a server. `file` is the SHA-256 of its file, where it is known."""

    id: str
    context_tokens: int | None = None
    file: str | None = None


class BackendView(View, frozen=True):
    """A model server. `origin` is config, added, found or built-in; `fault` says why it is not up."""

    name: str
    kind: str
    url: str
    origin: str
    up: bool
    fault: str | None
    breaker: str
    in_hand: int
    most_in_hand: int
    price: int
    models: tuple[BackendModelView, ...]


class BackendsView(View, frozen=True):
    """The model servers of this machine."""

    backends: tuple[BackendView, ...]


class SnapshotView(View, frozen=True):
    """A snapshot of the ledger's state after a block."""

    height: int
    content_id: str


class SnapshotsView(View, frozen=True):
    """Those that this node can give."""

    snapshots: tuple[SnapshotView, ...]


class HeightView(View, frozen=True):
    """A height."""

    height: int


class LeavingView(View, frozen=True):
    """The daemon ends."""

    leaving: bool


class TopicView(View, frozen=True):
    """Where something was told."""

    topic: str


class VerdictView(View, frozen=True):
    """What a question of which the answer was known brought to light. `finding` is match, mismatch or inconclusive."""

    finding: str
    reason: str
    tokens: int


class CacheView(View, frozen=True):
    """A cache. `level` is L1 (memory), L2 (disk) or L3 (federation); `hit_rate` is null before it was asked."""

    kind: str
    level: str
    entries: int
    size_bytes: int
    max_bytes: int
    life_s: int
    hits: int
    misses: int
    hit_rate: float | None


class CachesView(View, frozen=True):
    """All caches of answers."""

    caches: tuple[CacheView, ...]


class EventLine(View, frozen=True):
    """An event that was published on a topic. `payload` is the publisher's JSON, or hex where it is none."""

    topic: str
    publisher: str
    event_id: str
    sent_ms: int
    payload: Any


class QueuedView(View, frozen=True):
    """A request that waits, or waited. `status` is waiting, running, escalated, done, failed or cancelled."""

    id: str
    method: str
    model: str
    status: str
    position: int | None
    priority: int
    since_ms: int
    deadline_ms: int
    tries: int
    server: str | None = None
    reason: str | None = None
    answer: JsonObject | None = None


class QueueView(View, frozen=True):
    """Under way, waiting in their order, ended."""

    requests: tuple[QueuedView, ...]


class PartView(View, frozen=True):
    """A part of a spread: where it is now, and who lost it before.

    `status` is waiting, placing, working, done or failed.
    """

    status: str
    executor: str | None
    task_id: str | None
    tries: int
    lost: tuple[str, ...] = ()


class SpreadView(View, frozen=True):
    """Work over many peers. `status` is running, done, failed or cancelled."""

    id: str
    kind: str
    status: str
    parts: tuple[PartView, ...]
    reason: str | None = None
    output: JsonObject | None = None


class SpreadsView(View, frozen=True):
    """The newest first."""

    spreads: tuple[SpreadView, ...]


class TrustView(View, frozen=True):
    """The verdicts about one peer's answers; `trust` is per mille, `asked` whether it still gets requests."""

    node_id: str
    trust: int
    matches: int
    mismatches: int
    inconclusive: int
    asked: bool
    reason: str | None = None


class TrustBookView(View, frozen=True):
    """The least trusted first."""

    peers: tuple[TrustView, ...]


class InviteView(View, frozen=True):
    """An invite: single use, and worth as much as the right to join."""

    invite: str
    expires_at_ms: int


class RegistrationView(View, frozen=True):
    """A wish for a seat whose stake is reserved. `status` is registered: it waits for the validators' word."""

    validator_id: str = msgspec.field(name="validatorID")
    status: str
    tx_hash: str = msgspec.field(name="txHash")
    height: int


class AdmissionView(View, frozen=True):
    """A node was let in, or this node's word for it as a validator was given.

    `role` is the one it gets; `status` and `reason` are those of the transaction.
    """

    node_id: str
    role: str
    tx_hash: str = msgspec.field(name="txHash")
    status: str
    reason: str | None = None
