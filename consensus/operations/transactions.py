"""Signed commands: what a user asks the ledger to do.

A transaction carries one or more operations under one signature; they succeed together or fail together. Its id is
the hash of the full signed bytes. Amounts are integers of the smallest unit.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Self

import msgspec

from consensus.operations.groups import GroupOperation
from consensus.operations.validators import Amount, ValidatorOperation
from gossip.codec import (
    Bytes32,
    Bytes64,
    DecodeError,
    Digest,
    Name,
    Natural,
    Sentence,
    Wire,
    begun,
    decode_canonical,
    digest,
    encode,
)
from gossip.identity import NodeId, Signature, Signer, Verifier, signing_bytes

MAX_TRANSACTION_BYTES = 64 * 1024
MAX_OPERATIONS = 1000
MAX_REMARK_BYTES = 256
_TAIL_BYTES = 2 + 64
"""Behind the body stand kind and number of the signature's bytes, and these."""


class Transfer(Wire, frozen=True, tag="transfer"):
    """Move `amount` from the sender to `to`; an account begins to exist by receiving."""

    to: Bytes32
    amount: Amount


class Remark(Wire, frozen=True, tag="remark"):
    """A few bytes for whoever reads the block, such as what a payment is for; the ledger takes no notice of them."""

    content: Annotated[bytes, msgspec.Meta(max_length=MAX_REMARK_BYTES)]


class SubmitTask(Wire, frozen=True, tag="task_submit"):
    """Ask for work: only the hash of its input stands here. The reward waits in escrow.

    `executor` may name the only node that may claim it. From `deadline_ms` (block time) on the asker may take the
    reward back if nobody has finished.
    """

    kind: Name
    input_hash: Bytes32
    reward: Natural
    executor: Bytes32 | None
    deadline_ms: Natural


class ClaimTask(Wire, frozen=True, tag="task_claim"):
    """The sender takes a queued task upon itself."""

    task: Bytes32


class Usage(Wire, frozen=True):
    """What the work took, in the units of its kind."""

    items: Natural
    tokens: Natural
    duration_ms: Natural


class TaskReceipt(Wire, frozen=True):
    """What the executor signs when it hands over an output: enough to check the output later, none of its content."""

    chain: Bytes32
    task: Bytes32
    kind: Name
    asker: Bytes32
    executor: Bytes32
    input_hash: Bytes32
    output_hash: Bytes32
    model_hash: Bytes32
    usage: Usage
    finished_at_ms: Natural
    nonce: Bytes32


class SignedReceipt(Wire, frozen=True):
    """A receipt with its executor's signature."""

    receipt: TaskReceipt
    signature: Bytes64

    def is_signed(self, verifier: Verifier) -> bool:
        """Whether the executor named in the receipt signed it."""
        return verifier.verify(self.receipt.executor, _receipt_bytes(self.receipt), self.signature)

    def is_countersigned(self, verifier: Verifier, signature: bytes) -> bool:
        """Whether the asker named in the receipt signed for it too."""
        return verifier.verify(self.receipt.asker, _countersigned_bytes(self), signature)


class CompleteTask(Wire, frozen=True, tag="task_complete"):
    """The executor settles a task that it claimed and is paid from the escrow."""

    signed: SignedReceipt


class SettleTask(CompleteTask, frozen=True, tag="task_settle"):
    """The same, with the asker's signature under the signed receipt: the output came and is what was signed for.

    The asker may keep its word back, so settling never waits for it for long: then the task is only completed.
    """

    countersignature: Bytes64


class FailTask(Wire, frozen=True, tag="task_fail"):
    """The executor gives up a claimed task, or the asker takes back an unclaimed or overdue one; escrow returns."""

    task: Bytes32
    reason: Sentence


class AdmitObserver(Wire, frozen=True, tag="admit_observer"):
    """A validator lets a node in; an invite's id makes it single use."""

    node: Bytes32
    invite: Bytes32 | None


class ApproveValidator(Wire, frozen=True, tag="approve_validator"):
    """A validator's approval of a candidate.

    More than two thirds of the power let a registered candidate activate; an observer that has not registered is
    seated at once, its stake taken from the grant.
    """

    node: Bytes32
    voting_key: Bytes32


Operation = (
    Transfer
    | Remark
    | SubmitTask
    | ClaimTask
    | CompleteTask
    | SettleTask
    | FailTask
    | AdmitObserver
    | ApproveValidator
    | GroupOperation
    | ValidatorOperation
)


class TransactionBody(Wire, frozen=True):
    """What the sender signs. `expiry_height` is the last height at which it may be executed."""

    chain: Bytes32
    sender: Bytes32
    nonce: Natural
    expiry_height: Natural
    operations: Annotated[
        tuple[Operation, ...], msgspec.Meta(min_length=1, max_length=MAX_OPERATIONS)
    ]


class _Signed(Wire, frozen=True):
    """A transaction as it is spelled."""

    body: TransactionBody
    signature: Bytes64


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """A signed command. `raw` is its one canonical encoding, `id` the hash of that, printed as `txHash`.

    Made by `decode_transaction`, `sign_transaction` or `of` alone, so that the four always belong together. It is no
    wire value: what is sent, stored and hashed is `raw`.
    """

    body: TransactionBody
    signature: bytes
    raw: bytes
    id: Digest

    @classmethod
    def of(cls, body: TransactionBody, signature: bytes) -> Self:
        """A body with its signature, whether it holds or not."""
        raw = encode(_Signed(body, signature))
        return cls(body, signature, raw, id_of(raw))

    @property
    def claim(self) -> tuple[bytes, bytes, bytes]:
        """Who is said to have signed what, and with which signature."""
        return self.body.sender, _signed_part(self), self.signature

    def is_signed(self, verifier: Verifier) -> bool:
        """Whether its sender signed it."""
        return verifier.verify(self.body.sender, _signed_part(self), self.signature)


def _transaction_bytes(body: TransactionBody) -> bytes:
    return signing_bytes("transaction", Digest(body.chain), body)


def _signed_part(transaction: Transaction) -> bytes:
    """The same bytes as `_transaction_bytes` of its body, which `raw` has encoded in it already."""
    return _signed_head(transaction.body.chain) + transaction.raw[1:-_TAIL_BYTES]


@lru_cache(maxsize=16)
def _signed_head(chain: bytes) -> bytes:
    """What stands before the body in what is signed."""
    return signing_bytes("transaction", Digest(chain), None)[:-1]


def _receipt_bytes(receipt: TaskReceipt) -> bytes:
    return signing_bytes("task-receipt", Digest(receipt.chain), receipt)


def _countersigned_bytes(signed: SignedReceipt) -> bytes:
    return signing_bytes("task-countersigned", Digest(signed.receipt.chain), signed)


def sign_transaction(signer: Signer, body: TransactionBody) -> Transaction:
    """Sign a body with the identity key of its sender."""
    return Transaction.of(body, signer.sign(_transaction_bytes(body)))


def sign_receipt(signer: Signer, receipt: TaskReceipt) -> SignedReceipt:
    """Sign a receipt with the identity key of its executor."""
    return SignedReceipt(receipt, signer.sign(_receipt_bytes(receipt)))


def countersign(signer: Signer, signed: SignedReceipt) -> Signature:
    """The asker's signature under its executor's receipt, worth nothing under another one."""
    return signer.sign(_countersigned_bytes(signed))


def id_of(raw: bytes) -> Digest:
    """The id of the transaction with these canonical bytes: `digest`, written out for it is asked of every one."""
    hashing: Any = _BEGUN_ID()
    hashing.update(raw)
    name: Digest = hashing.digest()
    return name


_BEGUN_ID = begun(b"transaction").copy


def decode_transaction(raw: bytes, known_id: Digest | None = None) -> Transaction:
    """Read a transaction from its canonical bytes. Raises `DecodeError`; does not check the signature.

    `known_id` is what `id_of(raw)` was, where that has been asked already.
    """
    if len(raw) > MAX_TRANSACTION_BYTES:
        raise DecodeError(
            f"a transaction has at most {MAX_TRANSACTION_BYTES} bytes, this one has {len(raw)}"
        )
    signed = decode_canonical(raw, _Signed)
    return Transaction(signed.body, signed.signature, raw, known_id or id_of(raw))


def task_id(transaction: Digest, operation: int) -> Digest:
    """The id of the task that the operation with this index in this transaction submits."""
    return digest(b"task", transaction + operation.to_bytes(4, "big"))


def sender_of(transaction: Transaction) -> NodeId:
    """The account that signs and pays."""
    return NodeId(transaction.body.sender)


def content_hash(content: bytes) -> Digest:
    """What stands on the chain for a task's input or output."""
    return digest(b"content", content)
