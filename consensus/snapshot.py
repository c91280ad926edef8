"""Snapshots: the ledger's state after one block, and the proof that it is the federation's.

A snapshot has two parts. The **state** is all keys and values in the order of their keys, cut into pages by a fixed
rule, so that every honest node makes the same bytes of it: it can come from several peers at once. The **proof** is the
block with its certificates, and the chain of validator sets from the genesis to those who vote next; whoever knows the
genesis can check it (`proof_fault`), and then the state against the certified root (`restored`).

What a node begins with that takes a snapshot: the state, that block, the last block of the epoch before, and the
validator sets. The blocks below are not there; others have them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from consensus.certificates import certificate_fault
from consensus.chain import (
    ChainReader,
    Execution,
    block_writes,
    certified_height_write,
    epoch_write,
    first_height_write,
    old_block_writes,
    state_certificate_write,
)
from consensus.genesis import Genesis
from consensus.ledger.machine import HEIGHT_KEY
from consensus.ledger.state import STATE_PREFIX
from consensus.ledger.state_tree import StateTree
from consensus.messages import CertifiedBlock
from consensus.pbft.reports import Tip
from consensus.proving import epoch_links
from consensus.quorum import ValidatorSet
from consensus.receipts import EpochChain
from consensus.sync import certified_block_fault
from consensus.verify import voters_after
from gossip.codec import Bytes32, DecodeError, Digest, Wire, decode_canonical, encode
from gossip.effects import KeyValueReader, Write
from gossip.identity import NodeId, Verifier

_PAGE_BYTES: Final = 128 * 1024
_LENGTH_BYTES: Final = 4
_MAX_PAGE_BYTES: Final = 16 * 1024 * 1024
_TREE_BATCH: Final = 10_000


class SnapshotError(Exception):
    """A snapshot is not what it should be; the text says what is wrong with it."""


class SnapshotProof(Wire, frozen=True):
    """That the state after a block is this one.

    `state` names the content that holds the state; it is a hint, the root is what counts. `base` is the last block of
    the epoch before, if that is neither the genesis nor the block itself. `epochs` lead from the genesis to the
    validators that vote on the next block.
    """

    state: Bytes32
    block: CertifiedBlock
    execution: Execution
    base: CertifiedBlock | None
    epochs: EpochChain

    @property
    def height(self) -> int:
        """The height of the block."""
        return self.block.block.height

    @property
    def state_root(self) -> Digest:
        """The root that the state must have."""
        return Digest(self.execution.statement.state_root)


class _Page(Wire, frozen=True):
    pairs: tuple[tuple[bytes, bytes], ...]


# The state as bytes


def state_pages(pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """The state's bytes, a page at a time. `pairs` are state keys with values, in the order of the keys."""
    waiting: list[tuple[bytes, bytes]] = []
    size_bytes = 0
    for key, value in pairs:
        waiting.append((key, value))
        size_bytes += len(key) + len(value)
        if size_bytes >= _PAGE_BYTES:
            yield _page(waiting)
            waiting, size_bytes = [], 0
    if waiting:
        yield _page(waiting)


def _page(pairs: list[tuple[bytes, bytes]]) -> bytes:
    page = encode(_Page(tuple(pairs)))
    return len(page).to_bytes(_LENGTH_BYTES, "big") + page


def read_state(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The pairs in a state's bytes, which may come in pieces of any size. Raises `SnapshotError`."""
    waiting = bytearray()
    last: bytes | None = None
    for piece in pieces:
        waiting += piece
        while (page := _next_page(waiting)) is not None:
            for key, value in page.pairs:
                if last is not None and key <= last:
                    raise SnapshotError("its keys are not in order")
                last = key
                yield key, value
    if waiting:
        raise SnapshotError("it ends in the middle of a page")


def _next_page(waiting: bytearray) -> _Page | None:
    """Take one page off, if it is complete."""
    if len(waiting) < _LENGTH_BYTES:
        return None
    end = _LENGTH_BYTES + int.from_bytes(waiting[:_LENGTH_BYTES], "big")
    if end > _MAX_PAGE_BYTES:
        raise SnapshotError("a page is too large")
    if len(waiting) < end:
        return None
    try:
        page = decode_canonical(bytes(waiting[_LENGTH_BYTES:end]), _Page)
    except DecodeError as error:
        raise SnapshotError(f"a page does not decode: {error}") from None
    del waiting[:end]
    return page


# The proof


def prove(reader: KeyValueReader, height: int, state: Digest) -> SnapshotProof | None:
    """The proof of the state after the block at `height`; None while a certificate is missing."""
    chain = ChainReader(reader)
    block, execution = chain.certified_block(height), chain.execution(height)
    if block is None or block.state is None or execution is None:
        return None
    epoch = execution.statement.epoch
    begun = chain.epoch(epoch + 1)
    if begun is not None and begun.base_height == height:
        epoch += 1
    epochs, start = epoch_links(chain, epoch), chain.epoch(epoch)
    if epochs is None or start is None:
        return None
    is_apart = start.base_height not in (0, height)
    base = chain.certified_block(start.base_height) if is_apart else None
    if is_apart and base is None:
        return None
    return SnapshotProof(state, block, execution, base, epochs)


def proof_fault(proof: SnapshotProof, genesis: Genesis, verifier: Verifier) -> str | None:
    """Why the proof shows nothing, or None: then `state_root` is the federation's at that height."""
    chain = genesis.federation_id
    coming = voters_after(proof.epochs, genesis, verifier)
    if isinstance(coming, str):
        return coming
    statement, header = proof.execution.statement, proof.block.block.header
    sets = {genesis.first_set().epoch: genesis.first_set()}
    sets.update((link.members.epoch, link.members) for link in proof.epochs)
    voters = sets.get(statement.epoch)
    if voters is None or coming.epoch - voters.epoch not in (0, 1):
        return f"the voters of epoch {statement.epoch} are not proven"
    below = Tip(header.height - 1, Digest(header.prev_hash), 0, None)
    fault = certified_block_fault(proof.block, below, voters, chain, verifier)
    if fault is not None:
        return f"its block: {fault}"
    certificate = proof.block.state
    if certificate is None or certificate.statement != statement:
        return "its certificate is about another state"
    fault = certificate_fault(certificate, voters, chain, verifier)
    if fault is not None:
        return f"its certificate: {fault}"
    if statement.height != header.height or statement.block_hash != header.digest:
        return "its certificate is about another block"
    if statement.next_set_hash != coming.hash:
        return "other validators vote next than those given"
    if proof.execution.results.root != statement.results_root:
        return "its outcomes are not those that were certified"
    return _base_fault(proof, sets, chain, verifier)


def _base_fault(
    proof: SnapshotProof, sets: Mapping[int, ValidatorSet], chain: Digest, verifier: Verifier
) -> str | None:
    """Whether the last block of the epoch before is the one that the hand-over names."""
    ending = proof.epochs[-1].certificate.statement if proof.epochs else None
    if ending is None or ending.height == proof.height:
        return None if proof.base is None else "a block that belongs to nothing"
    if proof.base is None:
        return "the last block of the epoch before is missing"
    header = proof.base.block.header
    if (header.height, header.digest) != (ending.height, ending.block_hash):
        return "another block than the last one of the epoch before"
    below = Tip(header.height - 1, Digest(header.prev_hash), 0, None)
    fault = certified_block_fault(proof.base, below, sets[ending.epoch], chain, verifier)
    return None if fault is None else f"the last block of the epoch before: {fault}"


# Taking it


@dataclass(frozen=True, slots=True)
class Offer:
    """A proven snapshot, and who has it."""

    proof: SnapshotProof
    peers: tuple[NodeId, ...]


def ranked(proofs: Mapping[NodeId, SnapshotProof]) -> list[Offer]:
    """Checked proofs as offers, highest first; of one height, the content that most peers name first."""
    named = Counter((proof.height, proof.state) for proof in proofs.values())
    order = sorted(named, key=lambda one: (one[0], named[one], one[1]), reverse=True)
    offers: list[Offer] = []
    for place in order:
        peers = [peer for peer, one in sorted(proofs.items()) if (one.height, one.state) == place]
        offers.append(Offer(proofs[peers[0]], tuple(peers)))
    return offers


def restored(
    proof: SnapshotProof, pairs: Iterable[tuple[bytes, bytes]], present: Iterable[bytes]
) -> list[Write]:
    """The one batch that puts a chain database after the snapshot's block. The proof has been checked.

    `present` are the state keys that the database holds now, with their prefix. Raises `SnapshotError` if the state
    does not have the certified root.
    """
    tree, batch = StateTree(), dict[bytes, bytes]()
    writes: dict[bytes, bytes | None] = dict.fromkeys(present)
    for key, value in pairs:
        batch[key] = writes[STATE_PREFIX + key] = value
        if len(batch) == _TREE_BATCH:
            tree, batch = tree.update(batch), {}
    tree = tree.update(batch)
    if tree.root != proof.state_root:
        raise SnapshotError(
            f"it has the state root {tree.root.hex()}, certified is {proof.state_root.hex()}"
        )
    return [*writes.items(), *_chain_writes(proof)]


def _chain_writes(proof: SnapshotProof) -> Iterator[Write]:
    height = proof.height
    yield HEIGHT_KEY, height.to_bytes(8, "big")
    for link in proof.epochs:
        yield epoch_write(link.certificate.statement.height, link.members)
        yield state_certificate_write(link.certificate)
    if proof.base is not None:
        yield from old_block_writes(proof.base.block, proof.base.certificate)
    block = proof.block
    assert block.state is not None, "the proof was checked"
    coming = proof.epochs[-1].members if proof.epochs else None
    yield from block_writes(block.block, block.certificate, proof.execution, coming)
    yield state_certificate_write(block.state)
    yield certified_height_write(height)
    yield first_height_write(height)
