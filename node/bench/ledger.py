"""What one node spends on transactions, in this process: admission, a full block, answers from read models."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
import trio

from consensus.blocks import MAX_BLOCK_TXS, Block, make_block
from consensus.certificates import Ballot, Certificate, Phase, StateStatement
from consensus.chain import Execution, block_writes
from consensus.engine import initial_writes
from consensus.genesis import Founder, Genesis, found
from consensus.ledger.event_log import EventLog, block_events, event_write
from consensus.ledger.machine import BlockResult, Ledger
from consensus.mempool import Added, Mempool
from consensus.operations.transactions import (
    Transaction,
    TransactionBody,
    Transfer,
    decode_transaction,
    sign_transaction,
)
from consensus.replay import replay
from gossip.codec import Digest
from gossip.identity import Ed25519Signer, Ed25519Verifier
from node.chain.projector import Projector, open_projections
from node.chain.read_models import ReadModels
from node.gateway.cache import Cache, Life
from node.gateway.endpoint import etag_of
from node.storage.store import LevelStore, StagedStore

_SENDERS = 200
_ADMITTED = 5
_READS = 500
_HITS = 5_000
_FUNDS = 10**9
_NEVER = 2**62
_START_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class LedgerFigures:
    """Times of the process, in one thread; a block has 2,000 transfers and is synced to disk."""

    admission_tx_per_s: float
    admission_with_signatures_tx_per_s: float
    block_2000_ms: float
    block_2000_execute_ms: float
    block_2000_events_ms: float
    block_2000_write_ms: float
    transactions: int
    replay_events_per_s: float
    replay_is_equal: bool
    projection_events_per_s: float
    projections_are_equal: bool
    projection_read_p50_ms: float
    projection_read_p99_ms: float
    cache_hit_p50_ms: float


def measure_ledger(blocks: int) -> LedgerFigures:
    """So many blocks of 2,000 transfers, in a folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="bizra-bench-"))
    try:
        return _Bench(folder, blocks).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class _Feed:
    """How far the bench's chain is."""

    durable_height: int = 0

    async def until_durable(self, height: int) -> None:
        while self.durable_height < height:
            await trio.sleep_forever()


class _Bench:
    def __init__(self, folder: Path, blocks: int) -> None:
        self._blocks, self._folder = blocks, folder
        self._signers = [Ed25519Signer((1 + at).to_bytes(32, "big")) for at in range(_SENDERS)]
        self._verifier = Ed25519Verifier()
        self._genesis = self._founded()
        self._disk = LevelStore(folder / "chain", create=True)
        self._open: list[LevelStore] = []
        self._store = StagedStore(self._disk)
        self._store.stage(initial_writes(self._genesis, self._verifier))
        self._store.flush()
        self._store.settle()
        self._ledger = Ledger.load(self._genesis, self._store, self._verifier)
        self._prev = Digest(bytes(32))

    def _founded(self) -> Genesis:
        seats = tuple(
            Founder(one.node_id, Ed25519Signer((10_000 + at).to_bytes(32, "big")).public, 1, _FUNDS)
            for at, one in enumerate(self._signers)
        )
        return found("bench", _START_MS, seats)

    def run(self) -> LedgerFigures:
        raw = self._transactions(MAX_BLOCK_TXS * self._blocks // _SENDERS)
        sample = raw[: _ADMITTED * MAX_BLOCK_TXS]
        admission, _ = self._admitted(sample, lambda _: True)
        signed, _ = self._admitted(sample, lambda one: one.is_signed(self._verifier))
        blocks = []
        for at in range(self._blocks):
            part = raw[at * MAX_BLOCK_TXS : (at + 1) * MAX_BLOCK_TXS]
            blocks.append(self._block(self._admitted(part, lambda _: True)[1]))
        whole = median(sum(parts) for parts in blocks)
        execute, events, write = (1000 * median(column) for column in zip(*blocks, strict=True))
        replayed, equal = self._replayed()
        projector, rate = self._projected(self._folder / "projections")
        again, _ = self._projected(self._folder / "again")
        same = all(_contents(projector, name) == _contents(again, name) for name in again.names)
        reads, hits = self._reads(ReadModels(projector, self._disk, lambda _: None))
        for one in self._open:
            one.close()
        self._disk.close()
        return LedgerFigures(
            admission_tx_per_s=round(admission),
            admission_with_signatures_tx_per_s=round(signed),
            block_2000_ms=round(1000 * whole, 1),
            block_2000_execute_ms=round(execute, 1),
            block_2000_events_ms=round(events, 1),
            block_2000_write_ms=round(write, 1),
            transactions=len(raw),
            replay_events_per_s=round(replayed),
            replay_is_equal=equal,
            projection_events_per_s=round(rate),
            projections_are_equal=same,
            projection_read_p50_ms=round(1000 * median(reads), 3),
            projection_read_p99_ms=round(1000 * sorted(reads)[len(reads) * 99 // 100], 3),
            cache_hit_p50_ms=round(1000 * median(hits), 4),
        )

    def _transactions(self, rounds: int) -> list[bytes]:
        """As wallets send them: the canonical bytes."""
        chain, payees = self._genesis.federation_id, [one.node_id for one in self._signers]
        return [
            sign_transaction(
                signer,
                TransactionBody(
                    chain, signer.public, nonce, _NEVER, (Transfer(payees[at - 1], 1),)
                ),
            ).raw
            for nonce in range(rounds)
            for at, signer in enumerate(self._signers)
        ]

    def _admitted(
        self, raw: list[bytes], check: Callable[[Transaction], bool]
    ) -> tuple[float, Mempool]:
        """From bytes to a place in the mempool: how many a second, and the mempool."""
        pool = Mempool(self._genesis.federation_id)
        began = time.perf_counter()
        for one in raw:
            transaction = decode_transaction(one)
            assert check(transaction)
            assert isinstance(pool.add(transaction, self._ledger), Added)
        return len(raw) / (time.perf_counter() - began), pool

    def _block(self, pool: Mempool) -> tuple[float, float, float]:
        """Seconds to make and execute a full block, to make its events, to write all of it."""
        limits = self._genesis.parameters
        began = time.perf_counter()
        chosen = pool.select(limits.max_block_txs, limits.max_block_bytes)
        block = make_block(
            chain=self._genesis.federation_id,
            height=self._ledger.height + 1,
            epoch=0,
            prev_hash=self._prev,
            proposer=self._signers[0].public,
            timestamp_ms=_START_MS + 1000 * (self._ledger.height + 1),
            transactions=chosen,
        )
        result = self._ledger.execute(block)
        statement = _statement(block, result)
        executed = time.perf_counter()
        events = event_write(block_events(block, statement, result))
        logged = time.perf_counter()
        certificate = Certificate(Ballot(Phase.COMMIT, 0, 0, block.height, block.digest), ())
        execution = Execution(statement, result.results)
        self._store.stage(
            (*block_writes(block, certificate, execution, result.next_set), *result.writes, events)
        )
        pool.remove_committed(block, self._ledger)
        self._store.flush()
        self._store.settle()
        self._prev = block.digest
        assert len(chosen) == MAX_BLOCK_TXS
        assert all(outcome.ok for outcome in result.outcomes)
        written = time.perf_counter()
        return executed - began, logged - executed, written - logged

    def _replayed(self) -> tuple[float, bool]:
        """The chain executed again from its genesis: events a second, and whether all came out the same."""
        began = time.perf_counter()
        done = list(replay(self._genesis, self._disk, self._verifier, self._ledger.height))
        seconds = time.perf_counter() - began
        return sum(one.events for one in done) / seconds, not any(one.fault for one in done)

    def _projected(self, folder: Path) -> tuple[Projector, float]:
        """All read models made of the chain from nothing, and events of the log a second."""
        rows = open_projections(folder)
        self._open.append(rows)
        projector = Projector(rows, self._disk, lambda: self._ledger, _Feed(self._ledger.height))
        began = time.perf_counter()
        projector.catch_up_now()
        seconds = time.perf_counter() - began
        log = EventLog(self._disk)
        events = sum(len(log.block(at) or ()) for at in range(1, self._ledger.height + 1))
        return projector, events / seconds

    def _reads(self, models: ReadModels) -> tuple[list[float], list[float]]:
        """Seconds for lists of 20 made now, and for the same from the cache."""
        cache = Cache()
        reads: list[float] = []
        body = b""
        for at in range(_READS):
            party = self._signers[at % _SENDERS].node_id
            for ask in (
                lambda: models.accounts(None, 20),
                lambda party=party: models.transactions(party, None, 20),
            ):
                began = time.perf_counter()
                made = ask()
                body = msgspec.json.encode(made.view)
                reads.append(time.perf_counter() - began)
        cache.put(0, "list", body, etag_of(body), life=Life.LIST, subjects=(("accounts", b"b"),))
        hits = []
        for _ in range(_HITS):
            began = time.perf_counter()
            assert cache.get(1, "list") is not None
            hits.append(time.perf_counter() - began)
        return reads, hits


def _contents(projector: Projector, name: str) -> list[tuple[bytes, bytes]]:
    return list(projector.reader(name).range(b"", b"\xff", 2**31))


def _statement(block: Block, result: BlockResult) -> StateStatement:
    return StateStatement(
        block.header.epoch,
        block.height,
        block.digest,
        result.results_root,
        result.state_root,
        result.next_set.hash,
    )
