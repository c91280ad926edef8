"""How the chain lies in its database: keys, the writes of one executed block, and reading it all back.

Heights are eight big-endian bytes, so that a scan runs in order. The ledger's state stands in the same database under a
prefix of its own; block, certificate, state changes and indexes of one block are one atomic batch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

from consensus.blocks import Block
from consensus.certificates import Certificate, StateCertificate, StateStatement
from consensus.ledger.outcomes import Results
from consensus.messages import CertifiedBlock
from consensus.quorum import ValidatorSet
from gossip.codec import Natural, Wire, decode, encode
from gossip.effects import KeyValueReader, Write

T = TypeVar("T", bound=Wire)

_BLOCK, _CERTIFICATE, _EXECUTION, _STATE = b"b/", b"k/", b"x/", b"c/"
_BY_HASH, _BY_TRANSACTION, _EPOCH, _RECOVERY = b"h/", b"t/", b"e/", b"r/"
_NIL = encode(None)
_HEAD, _CERTIFIED, _GENESIS, _FIRST = b"head", b"certified", b"genesis", b"first"


class Execution(Wire, frozen=True):
    """What executing a block came to on this node."""

    statement: StateStatement
    results: Results


class Place(Wire, frozen=True):
    """Where a transaction stands."""

    height: Natural
    index: Natural


class EpochStart(Wire, frozen=True):
    """A validator set, and the height of the last block before it voted."""

    base_height: Natural
    members: ValidatorSet


def _at(prefix: bytes, height: int) -> bytes:
    return prefix + height.to_bytes(8, "big")


class ChainReader:
    """Typed reads from a chain database. What is missing is None; what is damaged raises `DecodeError`."""

    def __init__(self, reader: KeyValueReader) -> None:
        self._reader = reader

    def _read(self, key: bytes, kind: type[T]) -> T | None:
        value = self._reader.get(key)
        return None if value is None else decode(value, kind)

    def genesis(self) -> bytes | None:
        """The canonical bytes of the genesis this chain began with."""
        return self._reader.get(_GENESIS)

    def height(self) -> int:
        """The height of the last executed block, 0 for none."""
        value = self._reader.get(_HEAD)
        return 0 if value is None else int.from_bytes(value, "big")

    def certified_height(self) -> int:
        """Every height up to this one has its STATE certificate."""
        value = self._reader.get(_CERTIFIED)
        return 0 if value is None else int.from_bytes(value, "big")

    def first_height(self) -> int:
        """The height from which on all blocks are here: 1, or that of the snapshot this chain began with."""
        value = self._reader.get(_FIRST)
        return 1 if value is None else int.from_bytes(value, "big")

    def block(self, height: int) -> Block | None:
        """The block at a height."""
        return self._read(_at(_BLOCK, height), Block)

    def certificate(self, height: int) -> Certificate | None:
        """Its commit certificate."""
        return self._read(_at(_CERTIFICATE, height), Certificate)

    def execution(self, height: int) -> Execution | None:
        """What executing it came to."""
        return self._read(_at(_EXECUTION, height), Execution)

    def state_certificate(self, height: int) -> StateCertificate | None:
        """The quorum's signatures over what executing it came to."""
        return self._read(_at(_STATE, height), StateCertificate)

    def height_of(self, block_hash: bytes) -> int | None:
        """The height of the block with this hash."""
        value = self._reader.get(_BY_HASH + block_hash)
        return None if value is None else int.from_bytes(value, "big")

    def block_hashes(self, beginning: bytes) -> list[bytes]:
        """The hashes of all blocks that begin like this."""
        return self._names(_BY_HASH, beginning)

    def transaction_ids(self, beginning: bytes) -> list[bytes]:
        """The ids of all transactions in blocks that begin like this."""
        return self._names(_BY_TRANSACTION, beginning)

    def _names(self, prefix: bytes, beginning: bytes) -> list[bytes]:
        return [key[len(prefix) :] for key, _ in self._reader.scan(prefix + beginning)]

    def place_of(self, transaction: bytes) -> Place | None:
        """Where the transaction with this id stands."""
        return self._read(_BY_TRANSACTION + transaction, Place)

    def epoch(self, epoch: int) -> EpochStart | None:
        """The validator set of an epoch and where it began."""
        value = self._reader.get(_at(_EPOCH, epoch))
        return None if value is None else _epoch_start(value)

    def recovery(self, epoch: int) -> StateCertificate | None:
        """What the survivors signed with whom this epoch began, if it began with less than a quorum."""
        return self._read(_at(_RECOVERY, epoch), StateCertificate)

    def certified_block(self, height: int) -> CertifiedBlock | None:
        """All that a node which is behind needs of one height."""
        block, certificate = self.block(height), self.certificate(height)
        if block is None or certificate is None:
            return None
        return CertifiedBlock(block, certificate, self.state_certificate(height))

    def certified_bytes(self, height: int) -> tuple[bytes, bytes, bytes] | None:
        """The same, encoded as it is stored; the third part is nil if there is no STATE certificate."""
        read = self._reader.get
        block, certificate = read(_at(_BLOCK, height)), read(_at(_CERTIFICATE, height))
        if block is None or certificate is None:
            return None
        return block, certificate, read(_at(_STATE, height)) or _NIL


@lru_cache(maxsize=64)
def _epoch_start(raw: bytes) -> EpochStart:
    """Decoded once: a set works out a good deal about itself, and is asked for with every certificate."""
    return decode(raw, EpochStart)


def genesis_writes(genesis: bytes, members: ValidatorSet) -> tuple[Write, ...]:
    """The first batch of a new chain, beside the ledger's initial state."""
    return ((_GENESIS, genesis), epoch_write(0, members))


def block_writes(
    block: Block, certificate: Certificate, execution: Execution, next_set: ValidatorSet | None
) -> tuple[Write, ...]:
    """The batch of one executed block, beside the ledger's state changes; `next_set` None is that of epoch 0."""
    height = block.height
    writes: list[Write] = [
        *old_block_writes(block, certificate),
        (_at(_EXECUTION, height), encode(execution)),
        (_HEAD, height.to_bytes(8, "big")),
    ]
    writes += [
        (_BY_TRANSACTION + transaction.id, encode(Place(height, index)))
        for index, transaction in enumerate(block.transactions)
    ]
    if next_set is not None and next_set.epoch != block.header.epoch:
        writes.append(epoch_write(height, next_set))
    return tuple(writes)


def old_block_writes(block: Block, certificate: Certificate) -> tuple[Write, ...]:
    """What is kept of a committed block that was not executed here."""
    return (
        (_at(_BLOCK, block.height), block.raw),
        (_at(_CERTIFICATE, block.height), encode(certificate)),
        (_BY_HASH + block.digest, block.height.to_bytes(8, "big")),
    )


def epoch_write(base_height: int, members: ValidatorSet) -> Write:
    """The write of a validator set, and of the height of the last block before it voted."""
    return _at(_EPOCH, members.epoch), encode(EpochStart(base_height, members))


def recovery_write(epoch: int, certificate: StateCertificate) -> Write:
    """The write of what survivors signed to begin an epoch."""
    return _at(_RECOVERY, epoch), encode(certificate)


def first_height_write(height: int) -> Write:
    """The write that says that the blocks below this height are not here."""
    return _FIRST, height.to_bytes(8, "big")


def state_certificate_write(certificate: StateCertificate) -> Write:
    """The write of a STATE certificate, once it is complete."""
    return _at(_STATE, certificate.statement.height), encode(certificate)


def certified_height_write(height: int) -> Write:
    """The write that goes with it: below and at this height no certificate is missing."""
    return _CERTIFIED, height.to_bytes(8, "big")
