"""How long the steps of failure detection take, and how many members each concerns."""

from __future__ import annotations

from dataclasses import dataclass

FANOUT = 3
"""So many members hear of what is new at a time."""
FULL_VOICES = 3
"""So many accusers of one member are told to all at first hand."""
NEVER = 2**62


@dataclass(frozen=True, slots=True)
class Pace:
    """Durations in milliseconds: those of memberlist on a LAN, but that gossip is quicker."""

    period_ms: int = 1_000
    timeout_ms: int = 500
    gossip_ms: int = 120
    check_ms: int = 200
    voices_ms: int = 1_000
    answer_ms: int = 2_000
    """So long a suspicion of who is no neighbour waits for its answer, before all dial it at once."""
