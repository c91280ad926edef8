"""The clients' accounts: keys, money to begin with, and every transaction of a run signed beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from secrets import token_bytes

from consensus.operations.transactions import (
    MAX_OPERATIONS,
    Operation,
    Remark,
    Transaction,
    TransactionBody,
    Transfer,
    sign_transaction,
)
from gossip.codec import Digest
from gossip.identity import Ed25519Signer

_NEVER = 2**62


class Wallets:
    """`clients` accounts in one federation; each pays 1 to `payee` with every operation."""

    def __init__(self, chain: Digest, clients: int, payee: bytes) -> None:
        self.signers = [Ed25519Signer(token_bytes(32)) for _ in range(clients)]
        self._chain, self._payee = chain, payee

    def funding(self, rich: Ed25519Signer, nonce: int, each: int) -> list[Transaction]:
        """What gives every client `each` from one account, many of them under one signature."""
        funded = []
        for place, start in enumerate(range(0, len(self.signers), MAX_OPERATIONS)):
            some = self.signers[start : start + MAX_OPERATIONS]
            pays = tuple(Transfer(one.public, each) for one in some)
            funded.append(self._signed(rich, nonce + place, pays))
        return funded

    def sign(self, each: int, payload_bytes: int, operations: int) -> list[list[Transaction]]:
        """`each` transactions of every client in the order of their nonces, with a payload beside the payments."""
        pays = (Transfer(self._payee, 1),) * operations
        return [
            [
                self._signed(signer, nonce, (*pays, *_remarks(payload_bytes)))
                for nonce in range(each)
            ]
            for signer in self.signers
        ]

    def endless(self, payload_bytes: int) -> list[Iterator[Transaction]]:
        """For every client its transactions one after the other, each signed when it is asked for."""
        return [self._one_by_one(signer, payload_bytes) for signer in self.signers]

    def _one_by_one(self, signer: Ed25519Signer, payload_bytes: int) -> Iterator[Transaction]:
        pays = (Transfer(self._payee, 1),)
        for nonce in count():
            yield self._signed(signer, nonce, (*pays, *_remarks(payload_bytes)))

    def _signed(
        self, signer: Ed25519Signer, nonce: int, operations: tuple[Operation, ...]
    ) -> Transaction:
        body = TransactionBody(self._chain, signer.public, nonce, _NEVER, operations)
        return sign_transaction(signer, body)


def _remarks(size_bytes: int) -> tuple[Remark, ...]:
    return (Remark(token_bytes(size_bytes)),) if size_bytes else ()
