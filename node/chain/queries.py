"""Answers about chain and ledger, read from the engine alone: the part of the facade that needs no peers.

The engine is ahead of the disk for a moment after each block. What is told to be final must survive a crash, so blocks
above `durable_height` are not told yet, and their transactions are told to be included.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from consensus.chain import Place
from consensus.engine import Engine
from consensus.mempool import Dropped, RefusalCode
from consensus.proving import (
    account_receipt,
    block_receipt,
    state_receipt,
    states_receipt,
    transaction_receipt,
)
from consensus.receipts import TaskContent, write_receipt
from gossip.codec import Digest
from gossip.json_form import to_json
from node.views.facade import Named
from node.views.ledger import validators_view
from node.views.records import (
    AccountView,
    BlocksView,
    BlockView,
    JsonObject,
    TransactionView,
    ValidatorsView,
)

AMBIGUOUS = 6
"""So many ids that fit a prefix are enough to say that it is ambiguous."""


class Fates(Protocol):
    """What the service around the engine knows besides: how far the disk is, and what stands in no block."""

    @property
    def durable_height(self) -> int:
        """The height of the last block whose batch is on disk, synced."""

    @property
    def prepared(self) -> frozenset[Digest]:
        """The ids of the transactions in a block that is prepared and not yet final."""

    @property
    def dropped(self) -> Mapping[Digest, Dropped]:
        """The last transactions that waited and became impossible."""


class ChainQueries:
    """Reads only; what it returns is made for callers."""

    def __init__(self, engine: Engine, fates: Fates) -> None:
        self._engine, self._fates = engine, fates

    def find(self, what: Named, prefix: str) -> list[str]:
        """See `Facade.find`; nodes are the members of the federation."""
        return matching(self._names(what, bytes.fromhex(prefix[: len(prefix) // 2 * 2])), prefix)

    def _names(self, what: Named, beginning: bytes) -> Iterable[bytes]:
        chain, ledger = self._engine.chain, self._engine.ledger
        match what:
            case Named.TRANSACTION:
                return (*chain.transaction_ids(beginning), *self._engine.mempool.ids())
            case Named.BLOCK:
                return chain.block_hashes(beginning)
            case Named.ACCOUNT:
                return (owner for owner, _ in ledger.accounts())
            case Named.TASK:
                return (*(task_id for task_id, _ in ledger.tasks()), *ledger.group_ids())
            case Named.NODE:
                return (node for node, _ in ledger.members())

    def transaction(self, tx_hash: Digest) -> TransactionView | None:
        """See `Facade.transaction`."""
        place = self._engine.chain.place_of(tx_hash)
        shown = tx_hash.hex()
        if place is not None and place.height <= self._fates.durable_height:
            return self._executed(shown, place)
        if place is not None:
            return TransactionView(tx_hash=shown, status="included")
        if self._engine.mempool.contains(tx_hash):
            status = "included" if tx_hash in self._fates.prepared else "pending"
            return TransactionView(tx_hash=shown, status=status)
        dropped = self._fates.dropped.get(tx_hash)
        if dropped is None:
            return None
        status = "expired" if dropped.code is RefusalCode.EXPIRED else "rejected"
        return TransactionView(tx_hash=shown, status=status, reason=dropped.reason)

    def _executed(self, shown: str, place: Place) -> TransactionView:
        chain = self._engine.chain
        block, execution = chain.block(place.height), chain.execution(place.height)
        assert block is not None
        assert execution is not None
        outcome = execution.results.outcomes[place.index]
        return TransactionView(
            tx_hash=shown,
            status="finalized" if outcome.ok else "failed",
            height=place.height,
            block_hash=block.digest.hex(),
            reason=outcome.reason or None,
        )

    def receipt(self, tx_hash: Digest, content: TaskContent | None = None) -> JsonObject | None:
        """See `Facade.receipt`; `content` goes beside the hashes of a completed task."""
        place = self._engine.chain.place_of(tx_hash)
        if place is None or place.height > self._fates.durable_height:
            return None
        receipt = transaction_receipt(self._engine.chain, tx_hash, content)
        return None if receipt is None else _object(write_receipt(receipt))

    def account(self, owner: bytes) -> AccountView | None:
        """See `Facade.account`."""
        account = self._engine.ledger.account(owner)
        if account is None:
            return None
        nonce = self._engine.mempool.next_nonce(owner, self._engine.ledger)
        return AccountView(id=owner.hex(), balance=str(account.balance), nonce=nonce)

    def account_proof(self, owner: bytes) -> JsonObject | None:
        """A proof for `Facade.account_proof` if the state of just now is certified and on disk."""
        ledger = self._engine.ledger
        if ledger.height > self._fates.durable_height:
            return None
        receipt = account_receipt(self._engine.chain, ledger, owner)
        return None if receipt is None else _object(write_receipt(receipt))

    def state_proof(self, key: bytes) -> JsonObject | None:
        """The same for `Facade.state_proof`."""
        ledger = self._engine.ledger
        if ledger.height > self._fates.durable_height:
            return None
        receipt = state_receipt(self._engine.chain, ledger, key)
        return None if receipt is None else _object(write_receipt(receipt))

    def states_proof(self, keys: Sequence[bytes]) -> JsonObject | None:
        """The same for `Facade.states_proof`."""
        ledger = self._engine.ledger
        if ledger.height > self._fates.durable_height:
            return None
        receipt = states_receipt(self._engine.chain, ledger, keys)
        return None if receipt is None else _object(write_receipt(receipt))

    def block_proof(self, height: int) -> JsonObject | None:
        """See `Facade.block_proof`."""
        if not 1 <= height <= self._fates.durable_height:
            return None
        receipt = block_receipt(self._engine.chain, height)
        return None if receipt is None else _object(write_receipt(receipt))

    def block(self, which: int | Digest) -> BlockView | None:
        """See `Facade.block`."""
        chain = self._engine.chain
        height = which if isinstance(which, int) else chain.height_of(which)
        if height is None or not 1 <= height <= self._fates.durable_height:
            return None
        block = chain.block(height)
        certificate, execution = chain.certificate(height), chain.execution(height)
        if block is None or certificate is None or execution is None:
            return None  # older than the snapshot that this node began with
        header = block.header
        return BlockView(
            height=height,
            hash=block.digest.hex(),
            prev_hash=header.prev_hash.hex(),
            proposer=header.proposer.hex(),
            view=certificate.ballot.view,
            epoch=header.epoch,
            timestamp_ms=header.timestamp_ms,
            state_root=execution.statement.state_root.hex(),
            transactions=tuple(one.id.hex() for one in block.transactions),
            certificate=_object(to_json(certificate)),
        )

    def blocks(self, before: int | None, limit: int) -> BlocksView:
        """See `Facade.blocks`."""
        top = self._fates.durable_height
        if before is not None:
            top = min(before - 1, top)
        found = [self.block(height) for height in range(top, max(0, top - limit), -1)]
        shown = tuple(block for block in found if block is not None)
        last = shown[-1].height if shown else 1
        first = self._engine.chain.first_height()
        return BlocksView(blocks=shown, next_before=last if last > first else None)

    def validators(self) -> ValidatorsView:
        """See `Facade.validators`."""
        return validators_view(self._engine.validators)


def matching(names: Iterable[bytes], prefix: str) -> list[str]:
    """Those that begin with these hex digits, each once, in order; a few are enough."""
    fitting = {shown for shown in (name.hex() for name in names) if shown.startswith(prefix)}
    return sorted(fitting)[:AMBIGUOUS]


def _object(text: str) -> JsonObject:
    value: JsonObject = json.loads(text)
    return value
