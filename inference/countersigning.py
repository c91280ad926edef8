"""The asker's signature under its executor's receipt: this output came, whole, and it is what was signed for.

The ledger pays for the executor's receipt; the countersignature stays with the two, each of whom can
show it later. It covers the receipt with the executor's signature, so it is worth nothing under
another one.
"""

from __future__ import annotations

from consensus.transactions import SignedReceipt
from gossip.codec import Digest
from gossip.identity import Signer, Verifier, signing_bytes


def countersign(signer: Signer, signed: SignedReceipt) -> bytes:
    """The asker's signature."""
    return signer.sign(_bytes(signed))


def is_countersigned(verifier: Verifier, signed: SignedReceipt, signature: bytes) -> bool:
    """Whether the asker named in the receipt signed it."""
    return verifier.verify(signed.receipt.asker, _bytes(signed), signature)


def _bytes(signed: SignedReceipt) -> bytes:
    return signing_bytes("task-countersigned", Digest(signed.receipt.chain), signed)
