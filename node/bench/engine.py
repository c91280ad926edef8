"""Where a replica's CPU goes: four engines in one process, with real signatures and databases and no network.

Messages are encoded once and decoded by each receiver, as in daemons; every turn's writes are staged and flushed as the
driver does it, without a sync. What stands for the network is a queue.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from consensus.engine import Engine, PeerConnected, Received, Started, Submit, initial_writes
from consensus.execution import BlockExecuted
from consensus.genesis import Founder, Genesis, found
from consensus.messages import ConsensusMessage, Vote
from consensus.operations.transactions import Transaction, decode_transaction
from gossip.codec import decode, encode
from gossip.effects import Broadcast, Effect, Notify, Persist, Send, Store
from gossip.identity import Ed25519Signer, Ed25519Verifier, NodeId
from node.bench.wallets import Wallets
from node.storage.store import LevelStore, StagedStore

_FUNDS = 10**8
_START_MS = 1_000_000
_OWN, _EXECUTION = "taking its own users'", "executing"
_SIGNATURES, _CODEC, _DATABASES = "signatures", "codec", "databases"
_STORES = (Store.POOL, Store.CHAIN, Store.VOTES)


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """Microseconds of CPU of one node: per transaction by part, and per message by kind."""

    nodes: int
    transactions: int
    blocks: int
    us_per_transaction: dict[str, float]
    us_per_transaction_in_all: float
    us_each: dict[str, float]
    """Per message of a kind, or per time that something else is done."""


@dataclass(frozen=True, slots=True)
class EngineWork:
    """What is asked of the engines."""

    clients: int
    blocks: int
    payload_bytes: int = 128
    nodes: int = 4


class _Clock:
    """Adds up the CPU time of parts; what checks signatures inside a part is not the part's."""

    def __init__(self) -> None:
        self.spent_ns: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self._inner_ns = 0

    def take(self, name: str, began_ns: int, times: int = 1) -> None:
        """A part ends that began then."""
        self.spent_ns[name] += time.thread_time_ns() - began_ns - self._inner_ns
        self.counts[name] += times
        self._inner_ns = 0

    def take_inner(self, name: str, began_ns: int) -> None:
        """A part ends that lies inside another."""
        taken_ns = time.thread_time_ns() - began_ns
        self.spent_ns[name] += taken_ns
        self.counts[name] += 1
        self._inner_ns += taken_ns

    def clear(self) -> None:
        """Begin again."""
        self.spent_ns.clear()
        self.counts.clear()


class _TimedVerifier:
    """Ed25519, and how long it takes."""

    def __init__(self, clock: _Clock) -> None:
        self._clock, self._real = clock, Ed25519Verifier()

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        began_ns = time.thread_time_ns()
        holds = self._real.verify(public, message, signature)
        self._clock.take_inner(_SIGNATURES, began_ns)
        return holds


class _Node:
    """One engine with its databases."""

    def __init__(self, folder: Path, genesis: Genesis, seat: int, clock: _Clock) -> None:
        self.node_id, self._clock = _identity(seat).node_id, clock
        self._disks = {one: LevelStore(folder / one.value, create=True) for one in _STORES}
        self.stores = {one: StagedStore(disk, sync=False) for one, disk in self._disks.items()}
        verifier = _TimedVerifier(clock)
        self.stores[Store.CHAIN].stage(initial_writes(genesis, verifier))
        self.engine = Engine(
            genesis=genesis,
            voting_key=_voter(seat),
            verifier=verifier,
            chain=self.stores[Store.CHAIN],
            votes=self.stores[Store.VOTES],
            pool=self.stores[Store.POOL],
        )

    def keep(self, effects: list[Effect]) -> None:
        """Do with writes what the driver does at the end of a round."""
        touched = set()
        for effect in effects:
            if isinstance(effect, Persist):
                self.stores[effect.store].stage(effect.writes)
                if not effect.lazy:
                    touched.add(effect.store)
        for store in _STORES:
            if store in touched:
                self.stores[store].flush()
                self.stores[store].settle()

    def close(self) -> None:
        """Give the databases free."""
        for disk in self._disks.values():
            disk.close()


class _Town:
    """The engines and what is under way between them."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.clock = _Clock()
        self.genesis = found(
            "bench",
            _START_MS,
            tuple(
                Founder(_identity(seat).node_id, _voter(seat).public, 1, _FUNDS)
                for seat in range(nodes)
            ),
        )
        self.nodes = [
            _Node(folder / str(seat), self.genesis, seat, self.clock) for seat in range(nodes)
        ]
        self._by_id = {one.node_id: one for one in self.nodes}
        self._under_way: deque[tuple[NodeId, NodeId, str, bytes]] = deque()
        self._now_ms = _START_MS
        for one in self.nodes:
            self._carry(one, one.engine.handle(self._now_ms, Started()))
            for other in self.nodes:
                if other is not one:
                    connected = PeerConnected(other.node_id)
                    self._carry(one, one.engine.handle(self._now_ms, connected))
        self.deliver()

    def submit(self, seat: int, transactions: list[Transaction]) -> None:
        """Hand transactions to a node as its own users', and deliver what comes of it."""
        self.handle(self.nodes[seat], Submit(tuple(transactions)), _OWN)
        self.deliver()

    def handle(self, node: _Node, event: Submit | Received, kind: str) -> None:
        """One turn of one engine, and what the shell does after it."""
        self._now_ms += 1
        began_ns = time.thread_time_ns()
        effects = node.engine.handle(self._now_ms, event)
        self.clock.take(_EXECUTION if _executed(effects) else kind, began_ns)
        self._carry(node, effects)

    def deliver(self) -> None:
        """Until nothing is under way."""
        while self._under_way:
            sender, receiver, kind, payload = self._under_way.popleft()
            began_ns = time.thread_time_ns()
            message: ConsensusMessage = decode(payload, cast("Any", ConsensusMessage))
            self.clock.take(_CODEC, began_ns)
            self.handle(self._by_id[receiver], Received(sender, message), kind)

    def _carry(self, node: _Node, effects: list[Effect]) -> None:
        began_ns = time.thread_time_ns()
        node.keep(effects)
        self.clock.take(_DATABASES, began_ns)
        for effect in effects:
            if isinstance(effect, Send | Broadcast):
                began_ns = time.thread_time_ns()
                payload = encode(effect.message)
                self.clock.take(_CODEC, began_ns)
                for peer in (effect.to,) if isinstance(effect, Send) else effect.to:
                    self._under_way.append((node.node_id, peer, _kind(effect.message), payload))

    def close(self) -> None:
        """Give the databases free."""
        for node in self.nodes:
            node.close()


def _executed(effects: list[Effect]) -> bool:
    return any(isinstance(one, Notify) and isinstance(one.what, BlockExecuted) for one in effects)


def _kind(message: object) -> str:
    return message.ballot.phase.name if isinstance(message, Vote) else type(message).__name__


def _identity(seat: int) -> Ed25519Signer:
    return Ed25519Signer((1 + seat).to_bytes(32, "big"))


def _voter(seat: int) -> Ed25519Signer:
    return Ed25519Signer((1_000 + seat).to_bytes(32, "big"))


def measure_engine(work: EngineWork) -> EngineFigures:
    """So many blocks with one transfer of each client, handed in at the nodes by turns."""
    folder = Path(tempfile.mkdtemp(prefix="bizra-bench-"))
    town = _Town(folder, work.nodes)
    try:
        return _measured(town, work)
    finally:
        town.close()
        shutil.rmtree(folder, ignore_errors=True)


def _measured(town: _Town, work: EngineWork) -> EngineFigures:
    rich = _identity(0)
    wallets = Wallets(town.genesis.federation_id, work.clients, rich.public)
    town.submit(0, wallets.funding(rich, 0, work.blocks))
    rounds = list(zip(*wallets.sign(work.blocks, work.payload_bytes, 1), strict=True))
    before = town.nodes[0].engine.height
    gc.collect()
    town.clock.clear()
    for at, signed in enumerate(rounds):
        town.submit(at % work.nodes, [decode_transaction(one.raw) for one in signed])
    blocks = town.nodes[0].engine.height - before
    assert {one.engine.height for one in town.nodes} == {before + blocks}
    spent, counts = town.clock.spent_ns, town.clock.counts
    shares = work.nodes * work.clients * work.blocks * 1_000
    return EngineFigures(
        work.nodes,
        work.clients * work.blocks,
        blocks,
        {name: round(spent[name] / shares, 2) for name in sorted(spent)},
        round(sum(spent.values()) / shares, 2),
        {name: round(spent[name] / counts[name] / 1_000, 1) for name in sorted(spent)},
    )
