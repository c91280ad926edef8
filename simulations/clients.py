"""Users: each honest founder's sends transactions to its own node and keeps asking until they are final.

As operators they also let joining nodes in, and seat them.
"""

from __future__ import annotations

from consensus.ledger.records import Role
from consensus.operations.transactions import (
    AdmitObserver,
    ApproveValidator,
    Operation,
    Transaction,
    TransactionBody,
    Transfer,
    sign_transaction,
)
from gossip.codec import Digest
from gossip.identity import NodeId, PublicKey, Signer

_EVER = 2**62
_AGAIN_MS = 3_000


class Joiner:
    """A node that wants a seat."""

    __slots__ = ("at_ms", "node", "voting_key")

    def __init__(self, at_ms: int, node: NodeId, voting_key: PublicKey) -> None:
        self.at_ms, self.node, self.voting_key = at_ms, node, voting_key


class Client:
    """The user of one node."""

    def __init__(
        self, name: int, signer: Signer, chain: Digest, receivers: tuple[NodeId, ...]
    ) -> None:
        self.name = name
        self._signer, self._chain, self._receivers = signer, chain, receivers
        self._nonce = 0
        self._tried: dict[tuple[str, NodeId], int] = {}
        self.pending: dict[bytes, Transaction] = {}

    def transfer(self) -> Transaction:
        """The next payment, to everybody in turn."""
        to = self._receivers[(self.name + 1 + self._nonce) % len(self._receivers)]
        return self.ask(Transfer(to, 1 + self._nonce % 5))

    def admit(self, now_ms: int, joiner: Joiner, role: Role | None) -> Transaction | None:
        """What this operator has to do now for a node that wants a seat, if anything."""
        if role is Role.VALIDATOR or now_ms < joiner.at_ms:
            return None
        step = "admit" if role is None else "approve"
        if now_ms < self._tried.get((step, joiner.node), 0):
            return None
        self._tried[step, joiner.node] = now_ms + _AGAIN_MS
        if role is None:
            return self.ask(AdmitObserver(joiner.node, None))
        return self.ask(ApproveValidator(joiner.node, joiner.voting_key))

    def ask(self, operation: Operation) -> Transaction:
        """A transaction of one operation, to be asked for until it is done."""
        body = TransactionBody(
            self._chain, NodeId(self._signer.public), self._nonce, _EVER, (operation,)
        )
        self._nonce += 1
        transaction = sign_transaction(self._signer, body)
        self.pending[transaction.id] = transaction
        return transaction
