"""What a replica tells its owner, and the plain values it is given: tip and timing."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from consensus.blocks import Block
from consensus.certificates import Certificate
from consensus.messages import Proposal, Vote
from gossip.codec import Digest

COLLECTED_FROM = 32
"""Below it all to all costs less than the two trips that a collector adds to each block."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The protocol's delays in milliseconds. Genesis does not fix them; replicas may differ."""

    progress_ms: int = 1000
    progress_cap_ms: int = 30_000
    absent_ms: int = 100
    """So long a leader is waited for that no connection leads to; doubled like the other."""
    fetch_ms: int = 500
    """After this a proposer that has not handed over what it named is suspected, and others are asked."""
    status_ms: int = 500
    drift_ms: int = 5_000
    collected_from: int = COLLECTED_FROM
    """From so many validators on votes go through collectors (`collecting.py`)."""
    collect_ms: int = 100
    """So long at least a collector is waited for before votes go to others; STATE votes wait five times as long."""


@dataclass(frozen=True, slots=True)
class Tip:
    """The last committed block; `certificate` is None for the genesis."""

    height: int
    digest: Digest
    timestamp_ms: int
    certificate: Certificate | None


class Decided(msgspec.Struct, frozen=True, gc=False):
    """A block is committed: execute it, then call `advance`."""

    block: Block
    certificate: Certificate


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """A block is prepared here: it may yet be replaced, if no quorum prepared it."""

    block: Block


class ViewEntered(msgspec.Struct, frozen=True, gc=False):
    """The replica votes in this view from now on."""

    epoch: int
    view: int


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Two signed statements by one voter about one question: it lies, or lost its memory."""

    voter: bytes
    first: Vote | Proposal
    second: Vote | Proposal
