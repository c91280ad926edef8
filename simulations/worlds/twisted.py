"""What only a liar does, beside the effects of sound cores."""

from __future__ import annotations

from dataclasses import dataclass

from gossip.effects import Effect
from gossip.identity import NodeId


@dataclass(frozen=True, slots=True)
class Late:
    """Carry this out so much later."""

    delay_ms: int
    effect: Effect


@dataclass(frozen=True, slots=True)
class Garbage:
    """Bytes that are no message."""

    to: tuple[NodeId, ...]
    data: bytes
