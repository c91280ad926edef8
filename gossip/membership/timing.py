"""How long things may take in membership."""

from __future__ import annotations

from dataclasses import dataclass, field

from gossip.membership.pace import Pace


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take, in milliseconds."""

    beat_ms: int = 1_000
    hello_ms: int = 2_000
    asleep_ms: int = 2_500
    drop_ms: int = 15_000
    refresh_ms: int = 30_000
    pull_ms: int = 10_000
    spread_ms: int = 50
    forget_ms: int = 60_000
    capability_ms: int = 120_000
    pace: Pace = field(default_factory=Pace)
