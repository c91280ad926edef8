"""What waits here because this node's own users handed it in, on disk, so that the death of the process forgets none.

Only the node that answered "pending" keeps a transaction so: the others hear of it again from there. The answer leaves
after the write; the write is not forced to the platter, so a power cut may take the last moments, and a client that has
seen no block hands its transaction in again (the same bytes are the same transaction).
"""

from __future__ import annotations

from collections.abc import Iterable

from consensus.operations.transactions import Transaction, decode_transaction
from gossip.codec import DecodeError
from gossip.effects import KeyValueReader, Persist, Store, Write

_KEY = b"pending/"


class PoolLog:
    """The transactions of this node's own users that wait."""

    def __init__(self, reader: KeyValueReader) -> None:
        self._reader = reader
        self._kept: set[bytes] = {key[len(_KEY) :] for key, _ in reader.scan(_KEY)}

    def stored(self) -> tuple[Transaction, ...]:
        """What is on disk, each sender's in nonce order; what can't be read any more is left out."""
        found: list[Transaction] = []
        for _, raw in self._reader.scan(_KEY):
            try:
                found.append(decode_transaction(raw))
            except DecodeError:
                continue
        return tuple(sorted(found, key=lambda one: (one.body.sender, one.body.nonce, one.id)))

    def keep(self, transactions: Iterable[Transaction]) -> list[Persist]:
        """Write down what was taken."""
        writes: list[Write] = []
        for transaction in transactions:
            if transaction.id not in self._kept:
                self._kept.add(transaction.id)
                writes.append((_KEY + transaction.id, transaction.raw))
        return _batch(writes)

    def forget(self, transaction_ids: Iterable[bytes]) -> list[Persist]:
        """Take out what is in a block, or never will be; what comes back after a crash is refused then."""
        gone = [name for name in transaction_ids if name in self._kept]
        self._kept.difference_update(gone)
        return _batch([(_KEY + name, None) for name in gone], lazy=True)

    def retain(self, transaction_ids: Iterable[bytes]) -> list[Persist]:
        """Take out everything else."""
        return self.forget(sorted(self._kept.difference(transaction_ids)))


def _batch(writes: list[Write], *, lazy: bool = False) -> list[Persist]:
    return [Persist(Store.POOL, tuple(writes), lazy)] if writes else []
