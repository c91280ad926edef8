"""Catching up: which peer to ask for the next committed blocks, and whom to stop asking.

A peer's claim of a height costs one request. Whoever does not answer in time, or answers with something that does not
hold, goes to the end of the line; every block is checked against its certificate by whoever takes it, so a liar can
delay but not deceive.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from consensus.blocks import Block
from consensus.certificates import Certificate, Phase, certificate_fault
from consensus.chain import ChainReader
from consensus.genesis import Genesis
from consensus.messages import (
    MAX_SYNC_BLOCKS,
    MESSAGE_BYTES,
    CertifiedBlock,
    FetchBlocks,
    StoredBlocks,
)
from consensus.pbft.reports import Tip
from consensus.quorum import ValidatorSet
from gossip.codec import Digest
from gossip.effects import CancelTimer, Effect, Send, SetTimer
from gossip.identity import NodeId, Verifier

SYNC_TIMER = "sync"
ANSWER_MS = 2_000


@dataclass(slots=True)
class _Claim:
    height: int
    failures: int = 0


class BlockSync:
    """At most one request under way."""

    def __init__(self) -> None:
        self._claims: dict[NodeId, _Claim] = {}
        self._asked: NodeId | None = None
        self._most_behind: int | None = None

    @property
    def is_running(self) -> bool:
        """Whether an answer is awaited."""
        return self._asked is not None

    def target(self) -> int:
        """The greatest height any connected peer claims."""
        return max((claim.height for claim in self._claims.values()), default=0)

    def bound(self, own: int, most_behind: int | None) -> list[Effect]:
        """Ask for nothing while so many blocks are lacking or more; None is no bound."""
        self._most_behind = most_behind
        return self._ask(own) if self._asked is None else []

    def on_claim(self, peer: NodeId, height: int, own: int) -> list[Effect]:
        """A peer says where it stands."""
        self._claims.setdefault(peer, _Claim(0)).height = height
        return self._ask(own) if self._asked is None else []

    def on_disconnect(self, peer: NodeId, own: int) -> list[Effect]:
        """A peer is gone with its claim."""
        self._claims.pop(peer, None)
        return self._next(own) if peer == self._asked else []

    def on_timeout(self, own: int) -> list[Effect]:
        """The asked peer did not answer."""
        return self.on_failure(self._asked, own) if self._asked is not None else []

    def on_failure(self, peer: NodeId, own: int) -> list[Effect]:
        """A peer's answer did not come or did not hold: its claim counts for nothing until it claims again."""
        claim = self._claims.get(peer)
        if claim is not None:
            claim.failures += 1
            claim.height = 0
        return self._next(own) if peer == self._asked else []

    def on_answer(self, peer: NodeId, own: int) -> list[Effect]:
        """A peer's blocks were taken up to `own`."""
        claim = self._claims.get(peer)
        if claim is not None:
            claim.failures = 0
        return self._next(own) if peer == self._asked else []

    def _next(self, own: int) -> list[Effect]:
        self._asked = None
        return [CancelTimer(SYNC_TIMER), *self._ask(own)]

    def _ask(self, own: int) -> list[Effect]:
        ahead = [
            (claim.failures, -claim.height, peer)
            for peer, claim in self._claims.items()
            if claim.height > own
        ]
        if not ahead or (
            self._most_behind is not None and self.target() - own >= self._most_behind
        ):
            return []
        self._asked = min(ahead)[2]
        return [Send(self._asked, FetchBlocks(own + 1)), SetTimer(SYNC_TIMER, ANSWER_MS)]


def certified_block_fault(
    item: CertifiedBlock, tip: Tip, members: ValidatorSet, chain: Digest, verifier: Verifier
) -> str | None:
    """Why a fetched block is not the committed one that follows `tip`, or None."""
    header, certificate = item.block.header, item.certificate
    ballot = certificate.ballot
    if header.chain != chain or header.height != tip.height + 1 or header.prev_hash != tip.digest:
        return "it does not follow the last block"
    if header.epoch != members.epoch:
        return f"it is of epoch {header.epoch}, not {members.epoch}"
    if ballot.phase is not Phase.COMMIT or (ballot.height, ballot.digest) != (
        header.height,
        header.digest,
    ):
        return "its certificate is for something else"
    return item.block.malformed() or certificate_fault(certificate, members, chain, verifier)


def tip_of(block: Block, certificate: Certificate) -> Tip:
    """The tip after this block."""
    return Tip(block.height, block.digest, block.header.timestamp_ms, certificate)


def stored_blocks(chain: ChainReader, first: int, last: int) -> StoredBlocks:
    """The answer to who lacks blocks from `first` on.

    Handed over as stored: whoever asks must cost little, for it may ask without end.
    """
    found: list[tuple[msgspec.Raw, msgspec.Raw, msgspec.Raw]] = []
    size = 0
    for height in range(first, min(first + MAX_SYNC_BLOCKS, last + 1)):
        parts = chain.certified_bytes(height)
        if parts is None or (found and size > MESSAGE_BYTES):
            break
        size += sum(map(len, parts))
        block, certificate, state = map(msgspec.Raw, parts)
        found.append((block, certificate, state))
    return StoredBlocks(tuple(found))


def digest_at(chain: ChainReader, genesis: Digest, height: int) -> Digest:
    """The hash of a stored block; that of the genesis at height 0."""
    if height == 0:
        return genesis
    block = chain.block(height)
    assert block is not None
    return block.digest


def stored_tip(chain: ChainReader, genesis: Genesis) -> Tip:
    """Where the chain on disk ends."""
    height = chain.height()
    if height == 0:
        return Tip(0, genesis.federation_id, genesis.created_ms, None)
    block, certificate = chain.block(height), chain.certificate(height)
    assert block is not None
    assert certificate is not None
    return tip_of(block, certificate)
