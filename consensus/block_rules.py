"""What a voter checks of a block beyond its form, against the state after the block before."""

from __future__ import annotations

from typing import Protocol

from consensus.blocks import Block
from consensus.ledger.machine import Ledger
from consensus.operations.transactions import Transaction
from gossip.codec import Digest
from gossip.identity import Verifier


class Checked(Protocol):
    """Transactions whose signatures have been checked: those that wait in a mempool."""

    def contains(self, transaction_id: bytes) -> bool:
        """Whether it is one of them."""


class BlockRules:
    """Judges blocks for the vote; what waits in the mempool has had its signature checked."""

    def __init__(self, chain: Digest, ledger: Ledger, checked: Checked, verifier: Verifier) -> None:
        self._chain, self._ledger, self._checked = chain, ledger, checked
        self._verifier = verifier

    def fault(self, block: Block) -> str | None:
        """Why no vote is cast for the block, or None."""
        limits = self._ledger.genesis.parameters
        if len(block.raw_transactions) > limits.max_block_txs:
            return f"more than {limits.max_block_txs} transactions"
        if sum(map(len, block.raw_transactions)) > limits.max_block_bytes:
            return f"more than {limits.max_block_bytes} bytes of transactions"
        nonces: dict[bytes, int] = {}
        height = block.height
        for transaction in block.transactions:
            fault = self._transaction_fault(transaction, height, nonces)
            if fault:
                return fault
        return None

    def _transaction_fault(
        self, transaction: Transaction, height: int, nonces: dict[bytes, int]
    ) -> str | None:
        """Every transaction must use its sender's next nonce.

        So nothing is replayed, and no leader can burn a transaction by putting it before its predecessor.
        """
        body = transaction.body
        sender, nonce, account = body.sender, body.nonce, self._ledger.account(body.sender)
        if body.chain != self._chain:
            return "a transaction of another federation"
        if account is None:
            return "a transaction of an account that does not exist"
        if nonce != nonces.get(sender, account.nonce):
            return "a transaction that is not its sender's next one"
        if body.expiry_height < height:
            return "an expired transaction"
        nonces[sender] = nonce + 1
        if not self._checked.contains(transaction.id) and not transaction.is_signed(self._verifier):
            return "a transaction whose signature does not hold"
        return None
