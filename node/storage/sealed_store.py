"""The votes database with a seal over all of it: a chain of hashes, one link for each batch.

LevelDB notices a flipped bit where it reads; it does not notice that its newest batches are gone, or that files of two
moments were mixed. Each batch therefore carries a seal: its number, and a hash over the seal before and over every
record as it stands after the batch. At the start the hash must come out again, and the number must not be below the one
that the chain's database has noted. What is left undetected is a copy of the whole home: that the others must tell.
"""

from __future__ import annotations

from collections.abc import Iterable

from gossip.codec import Bytes32, DecodeError, Natural, Wire, decode, digest, encode
from gossip.effects import KeyValueReader, Write
from node.storage.store import LevelStore, StagedStore, StoreError, StoreFault

_SEAL = b"seal"
_NOTE = b"votes-seal/"
_NO_SEAL = bytes(32)


class Seal(Wire, frozen=True):
    """The link of one batch."""

    number: Natural
    before: Bytes32
    hash: Bytes32


class SealedStore(StagedStore):
    """See the module. Raises `StoreError` if the seal and what it covers don't agree."""

    def __init__(self, disk: LevelStore) -> None:
        super().__init__(disk)
        self._digests = {
            key: digest(b"vote-record", value) for key, value in disk.scan(b"") if key != _SEAL
        }
        raw = disk.get(_SEAL)
        self._number, self._hash = 0, _NO_SEAL
        if raw is None and self._digests:
            raise _damaged(disk, "it has records and no seal")
        if raw is not None:
            self._open(disk, raw)

    def _open(self, disk: LevelStore, raw: bytes) -> None:
        try:
            seal = decode(raw, Seal)
        except DecodeError:
            raise _damaged(disk, "its seal can't be read") from None
        if self._sealed(seal.number, seal.before) != seal.hash:
            raise _damaged(disk, "its records are not those that were sealed")
        self._number, self._hash = seal.number, seal.hash

    @property
    def number(self) -> int:
        """How many batches have been written."""
        return self._number

    def _as_batch(self, staged: dict[bytes, bytes | None]) -> dict[bytes, bytes | None]:
        for key, value in staged.items():
            if value is None:
                self._digests.pop(key, None)
            else:
                self._digests[key] = digest(b"vote-record", value)
        number, before = self._number + 1, self._hash
        self._number, self._hash = number, self._sealed(number, before)
        return {**staged, _SEAL: encode(Seal(number, before, self._hash))}

    def _sealed(self, number: int, before: bytes) -> bytes:
        return digest(b"vote-seal", encode((number, before, sorted(self._digests.items()))))


def note_write(key: bytes, number: int) -> Write:
    """What the chain's database notes of the seal, under the voting key that the votes are of."""
    return _NOTE + key, number.to_bytes(8, "big")


def check_note(votes: SealedStore, chain: KeyValueReader, keys: Iterable[bytes]) -> None:
    """Raises `StoreError` if the votes are older than the chain knows them to be."""
    for key in keys:
        noted = chain.get(_NOTE + key)
        if noted is not None and int.from_bytes(noted, "big") > votes.number:
            raise _damaged(votes.disk, "its newest records are missing")


def _damaged(disk: LevelStore, detail: str) -> StoreError:
    return StoreError(StoreFault.DAMAGED, f"the database {disk.path} is damaged ({detail})")
