"""The node's own account: signs operations with the identity key and hands them to consensus one after the other."""

from __future__ import annotations

import trio

from consensus.ledger.outcomes import Outcome
from consensus.mempool import RefusalCode, Refused
from consensus.operations.transactions import (
    Operation,
    Transaction,
    TransactionBody,
    decode_transaction,
    sign_transaction,
)
from gossip.codec import DecodeError, Digest
from gossip.identity import NodeId, Signer
from node.chain.service import ChainService
from node.errors import NodeError
from node.views.facade import Problem

VALID_HEIGHTS = 1000
"""A transaction of the node's own may be executed in this many blocks from now on."""


class NotTakenError(NodeError):
    """The mempool refused a transaction of the node's own, or it was dropped or failed later."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


_BUSY = (RefusalCode.FULL.value, RefusalCode.SENDER_FULL.value)


def problem_of(error: NotTakenError, told: str) -> Problem:
    """What the owner is told; a full mempool says when to come back."""
    if error.code in _BUSY:
        return Problem(503, error.code, told, retry_after_s=1)
    return Problem(409, error.code, told)


class OwnAccount:
    """Gives each transaction the next nonce; only one is being handed in at a time."""

    def __init__(self, identity: Signer, chain: ChainService) -> None:
        self._identity, self._chain = identity, chain
        self._turn = trio.Lock()

    @property
    def node_id(self) -> NodeId:
        """The account's id."""
        return NodeId(self._identity.public)

    def sign(self, operations: tuple[Operation, ...]) -> Transaction:
        """A transaction with the next free nonce; only inside `turn`, or two get the same."""
        engine = self._chain.engine
        body = TransactionBody(
            engine.ledger.genesis.federation_id,
            self._identity.public,
            engine.mempool.next_nonce(self.node_id, engine.ledger),
            engine.height + VALID_HEIGHTS,
            operations,
        )
        transaction = sign_transaction(self._identity, body)
        try:
            decode_transaction(transaction.raw)
        except DecodeError as error:
            # A block with it could be read by nobody.
            raise NotTakenError("malformed", f"an operation is not well-formed: {error}") from None
        return transaction

    @property
    def turn(self) -> trio.Lock:
        """Held from `sign` to the mempool's answer."""
        return self._turn

    async def hand_in(self, transaction: Transaction) -> None:
        """Offer a signed transaction. Raises `NotTakenError`."""
        (answer,) = await self._chain.submit((transaction,))
        if isinstance(answer, Refused):
            raise NotTakenError(answer.code.value, answer.reason)

    async def transact(self, *operations: Operation) -> Transaction:
        """Sign and hand in; returns when the transaction waits in the mempool. Raises `NotTakenError`."""
        async with self._turn:
            transaction = self.sign(operations)
            await self.hand_in(transaction)
        return transaction

    async def settle(self, transaction: Digest) -> Outcome:
        """Wait until a transaction is executed. Raises `NotTakenError` if it was dropped or failed."""
        fate = await self._chain.fate_of(transaction)
        if not isinstance(fate, Outcome):
            raise NotTakenError(fate.code.value, fate.reason)
        if not fate.ok:
            raise NotTakenError(fate.code.value, fate.reason)
        return fate
