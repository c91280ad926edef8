"""Receipts: self-contained proofs of an outcome, a block, an account or another record, for files that leave the node.

Each carries a quorum's certificate, what connects the certificate to the thing that is proven, and
the chain of validator sets from the genesis to the certificate's epoch. `consensus.verify` checks
them with the genesis alone.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from consensus.blocks import Header
from consensus.certificates import Certificate, StateCertificate
from consensus.ledger.outcomes import Outcome
from consensus.ledger.records import Account
from consensus.ledger.state_tree import StateProof
from consensus.merkle import MerklePath
from consensus.operations.transactions import MAX_TRANSACTION_BYTES
from consensus.quorum import ValidatorSet
from gossip.codec import Bytes32, DecodeError, Digest, Wire, digest, encode
from gossip.json_form import from_json, to_json

_MAX_EPOCHS = 10_000
_MAX_KEY = 129
MAX_ITEMS = 100
"""A page of a list."""


class EpochLink(Wire, frozen=True):
    """One set hands over to the next: its certificate of its last height promises `members`."""

    certificate: StateCertificate
    members: ValidatorSet


EpochChain = Annotated[tuple[EpochLink, ...], msgspec.Meta(max_length=_MAX_EPOCHS)]
"""The hand-overs from epoch 0 to the epoch in question; none for epoch 0 itself."""


class TaskContent(Wire, frozen=True):
    """What was asked and answered.

    Never on the chain; who holds the content may put it beside its hashes.
    """

    input: bytes | None
    output: bytes | None


class TransactionReceipt(Wire, frozen=True, tag="transaction"):
    """What became of a transaction: it stands in this block and came out like this.

    `raw` are its canonical bytes, `path` leads from `outcome` to the certified results root. With
    an operation that completes a task this is the receipt of the task, and `content` may hold what
    its hashes stand for.
    """

    raw: Annotated[bytes, msgspec.Meta(max_length=MAX_TRANSACTION_BYTES)]
    outcome: Outcome
    path: MerklePath
    header: Header
    certificate: StateCertificate
    epochs: EpochChain
    content: TaskContent | None = None


class BlockReceipt(Wire, frozen=True, tag="block"):
    """A block was committed."""

    header: Header
    certificate: Certificate
    epochs: EpochChain


class AccountReceipt(Wire, frozen=True, tag="account"):
    """What an account held after the certified height; None: it did not exist."""

    owner: Bytes32
    account: Account | None
    proof: StateProof
    certificate: StateCertificate
    epochs: EpochChain


class StateReceipt(Wire, frozen=True, tag="state"):
    """What the ledger held under a key of its state after the certified height, canonical bytes; None: nothing.

    A key is the letter of a table and an id (`consensus.ledger.tables`).
    """

    key: Annotated[bytes, msgspec.Meta(min_length=1, max_length=_MAX_KEY)]
    value: bytes | None
    proof: StateProof
    certificate: StateCertificate
    epochs: EpochChain


class ProvenItem(Wire, frozen=True):
    """One key of several: what the ledger held under it, canonical bytes; None: nothing."""

    key: Annotated[bytes, msgspec.Meta(min_length=1, max_length=_MAX_KEY)]
    value: bytes | None
    proof: StateProof


class StatesReceipt(Wire, frozen=True, tag="states"):
    """The same for several keys at one height, under one certificate: what a list is proven by, item by item."""

    items: Annotated[tuple[ProvenItem, ...], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]
    certificate: StateCertificate
    epochs: EpochChain


Receipt: TypeAlias = (
    TransactionReceipt | BlockReceipt | AccountReceipt | StateReceipt | StatesReceipt
)


class ReceiptFile(Wire, frozen=True):
    """What a receipt file holds.

    The checksum proves nothing. It tells damage from forgery, and keeps a slip in the name of an
    absent account from becoming a true statement about another one.
    """

    receipt: Receipt
    checksum: Bytes32


def _checksum(receipt: Receipt) -> Digest:
    return digest(b"receipt-file", encode(receipt))


def write_receipt(receipt: Receipt) -> str:
    """The text of a receipt file."""
    return to_json(ReceiptFile(receipt, _checksum(receipt)))


def read_receipt(text: str | bytes) -> Receipt:
    """The receipt in a file. Raises `DecodeError` naming what is wrong."""
    file = from_json(text, ReceiptFile)
    if file.checksum != _checksum(file.receipt):
        raise DecodeError("checksum: the file is damaged")
    return file.receipt
