"""Answers that are checked against the genesis: what a node proves, and nothing that it only says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from consensus.genesis import Genesis
from consensus.ledger.outcomes import Outcome
from consensus.ledger.records import Account
from consensus.ledger.state import Table
from consensus.operations.transactions import Transaction, decode_transaction
from consensus.receipts import (
    AccountReceipt,
    BlockReceipt,
    Receipt,
    StateReceipt,
    StatesReceipt,
    TransactionReceipt,
    read_receipt,
)
from consensus.verify import Verdict, verify_receipt
from gossip.codec import DecodeError, Wire, decode_canonical
from gossip.identity import Verifier
from node.errors import NodeError

_R = TypeVar("_R", AccountReceipt, TransactionReceipt, BlockReceipt, StateReceipt, StatesReceipt)
_V = TypeVar("_V", bound=Wire)


class NotProvenError(NodeError):
    """The node's answer doesn't hold against the genesis; nothing in it should be believed."""

    code = "not_proven"


@dataclass(frozen=True, slots=True)
class ProvenAccount:
    """What an account held after a height; None: it didn't exist."""

    owner: bytes
    account: Account | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ProvenTransaction:
    """A transaction that stands in a block, and what came of it."""

    transaction: Transaction
    outcome: Outcome
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ProvenBlock:
    """A committed block's header."""

    height: int
    block_hash: bytes
    prev_hash: bytes
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ProvenRecord(Generic[_V]):
    """What a record of the ledger said after a height; None: there was none."""

    record: _V | None
    verdict: Verdict


def proven_record(
    text: bytes, table: Table[_V], name: bytes, genesis: Genesis, verifier: Verifier
) -> ProvenRecord[_V]:
    """Read and check the proof of a record of this table. Raises `NotProvenError`."""
    receipt = _read(text, StateReceipt)
    if receipt.key != table.key(name):
        raise NotProvenError(
            f"the proof is of the key {receipt.key.hex()}, not of {table.key(name).hex()}"
        )
    verdict = _checked(receipt, genesis, verifier)
    return ProvenRecord(None if receipt.value is None else _decoded(receipt.value, table), verdict)


def proven_records(
    text: bytes, wanted: Sequence[tuple[Table[_V], bytes]], genesis: Genesis, verifier: Verifier
) -> tuple[ProvenRecord[_V], ...]:
    """Read and check the proof of several records, in the order of the question. Raises `NotProvenError`."""
    receipt = _read(text, StatesReceipt)
    keys = [table.key(name) for table, name in wanted]
    if [one.key for one in receipt.items] != keys:
        raise NotProvenError("the proof is of other records than those that were asked for")
    verdict = _checked(receipt, genesis, verifier)
    return tuple(
        ProvenRecord(None if one.value is None else _decoded(one.value, table), verdict)
        for one, (table, _) in zip(receipt.items, wanted, strict=True)
    )


def proven_account(
    text: bytes, owner: bytes, genesis: Genesis, verifier: Verifier
) -> ProvenAccount:
    """Read and check the proof of an account. Raises `NotProvenError`."""
    receipt = _read(text, AccountReceipt)
    if receipt.owner != owner:
        raise NotProvenError(f"the proof is of {receipt.owner.hex()}, not of {owner.hex()}")
    return ProvenAccount(owner, receipt.account, _checked(receipt, genesis, verifier))


def proven_transaction(
    text: bytes, name: bytes, genesis: Genesis, verifier: Verifier
) -> ProvenTransaction:
    """Read and check the receipt of a transaction. Raises `NotProvenError`."""
    receipt = _read(text, TransactionReceipt)
    verdict = _checked(receipt, genesis, verifier)
    transaction = decode_transaction(receipt.raw)
    if transaction.id != name:
        raise NotProvenError(f"the receipt is of {transaction.id.hex()}, not of {name.hex()}")
    return ProvenTransaction(transaction, receipt.outcome, verdict)


def proven_block(text: bytes, which: str, genesis: Genesis, verifier: Verifier) -> ProvenBlock:
    """Read and check that a block was committed; `which` is its height or hash. Raises `NotProvenError`."""
    receipt = _read(text, BlockReceipt)
    verdict = _checked(receipt, genesis, verifier)
    height, block_hash = receipt.header.height, receipt.header.digest
    if which not in (str(height), block_hash.hex()):
        raise NotProvenError(f"the receipt is of block {height}, not of {which}")
    return ProvenBlock(height, block_hash, receipt.header.prev_hash, verdict)


def _decoded(value: bytes, table: Table[_V]) -> _V:
    try:
        return decode_canonical(value, table.kind)
    except DecodeError as error:
        raise NotProvenError(f"the record is of a newer version than this one: {error}") from None


def _read(text: bytes, kind: type[_R]) -> _R:
    try:
        receipt = read_receipt(text)
    except DecodeError as error:
        raise NotProvenError(f"not a receipt: {error}") from None
    if not isinstance(receipt, kind):
        raise NotProvenError("the receipt is of another kind than what was asked for")
    return receipt


def _checked(
    receipt: Receipt,
    genesis: Genesis,
    verifier: Verifier,
) -> Verdict:
    verdict = verify_receipt(receipt, genesis, verifier)
    if not verdict.valid:
        raise NotProvenError(f"the answer is not proven: {verdict.reason}")
    return verdict
