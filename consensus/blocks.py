"""Blocks: what PBFT agrees on, linked by hash.

The digest covers the block as first proposed. The view in which it is voted on stands in the votes beside it, so a
block proposed again after a view change keeps its digest.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Self

import msgspec

from consensus.merkle import merkle_root
from consensus.operations.transactions import MAX_TRANSACTION_BYTES, Transaction, decode_transaction
from gossip.codec import Bytes32, DecodeError, Digest, Natural, Wire, digest, encode

MAX_BLOCK_TXS = 2000
MAX_BLOCK_BYTES = 2 * 1024 * 1024

RawTransaction = Annotated[bytes, msgspec.Meta(max_length=MAX_TRANSACTION_BYTES)]


class Header(Wire, frozen=True, dict=True, gc=True):
    """What is hashed and voted on. `timestamp_ms` is the first proposer's clock, later than its parent's."""

    chain: Bytes32
    height: Natural
    epoch: Natural
    prev_hash: Bytes32
    proposer: Bytes32
    timestamp_ms: Natural
    tx_root: Bytes32

    @cached_property
    def digest(self) -> Digest:
        """The block's hash."""
        return digest(b"block", encode(self))


class Block(Wire, frozen=True, dict=True, gc=True):
    """A header and the canonical bytes of its transactions."""

    header: Header
    raw_transactions: Annotated[tuple[RawTransaction, ...], msgspec.Meta(max_length=MAX_BLOCK_TXS)]

    @property
    def digest(self) -> Digest:
        """The hash of the header, which commits to the transactions."""
        return self.header.digest

    @property
    def height(self) -> int:
        """The header's height."""
        return self.header.height

    @classmethod
    def of(cls, header: Header, transactions: tuple[Transaction, ...]) -> Self:
        """A block of transactions that are decoded already."""
        block = cls(header, tuple([one.raw for one in transactions]))
        block.__dict__["transactions"] = transactions
        return block

    @cached_property
    def transactions(self) -> tuple[Transaction, ...]:
        """The decoded transactions; only for blocks that `malformed` accepts."""
        return tuple(map(decode_transaction, self.raw_transactions))

    @cached_property
    def raw(self) -> bytes:
        """The canonical bytes, as they are stored."""
        return encode(self)

    def malformed(self) -> str | None:
        """Why the block is not well-formed by itself, or None: sizes, encodings, transaction root."""
        if sum(map(len, self.raw_transactions)) > MAX_BLOCK_BYTES:
            return f"more than {MAX_BLOCK_BYTES} bytes of transactions"
        try:
            transactions = self.transactions
        except DecodeError as error:
            return f"a transaction does not decode: {error}"
        if transaction_root(transactions) != self.header.tx_root:
            return "the transaction root does not match the transactions"
        if len({transaction.id for transaction in transactions}) != len(transactions):
            return "a transaction stands twice in the block"
        return None


def transaction_root(transactions: tuple[Transaction, ...]) -> Digest:
    """The Merkle root of the transactions' ids, in block order."""
    return merkle_root([transaction.id for transaction in transactions])


def make_block(
    *,
    chain: Digest,
    height: int,
    epoch: int,
    prev_hash: Digest,
    proposer: bytes,
    timestamp_ms: int,
    transactions: tuple[Transaction, ...],
) -> Block:
    """A fresh block of these transactions."""
    header = Header(
        chain, height, epoch, prev_hash, proposer, timestamp_ms, transaction_root(transactions)
    )
    return Block.of(header, transactions)
