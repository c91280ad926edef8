"""How long the steps of failure detection take, and how many members each concerns."""

from __future__ import annotations

from dataclasses import dataclass

FANOUT = 3
"""So many members hear of what is new at a time."""
FEW_VOICES = 3
"""So many accusers, the first and two that confirm, shorten the time to refute to the least."""
NEVER = 2**62


@dataclass(frozen=True, slots=True)
class Pace:
    """Durations in milliseconds; `period_ms`, `timeout_ms` and `gossip_ms` are those of memberlist on a LAN.

    `verdict_ms`: so long a question lasts in all, somewhat less than a period, since it is asked several times.
    `verify_ms`: so long the accused has to answer a member that hears of it, before that one passes it on.
    `call_ms`: so long if it is to be dialed first.
    `voices_ms`: so often a member that can't reach another looks for others that can't.
    `answer_ms`: so long a suspicion of who is no neighbour waits for its answer, before all dial it at once.
    """

    period_ms: int = 1_000
    timeout_ms: int = 500
    verdict_ms: int = 900
    gossip_ms: int = 200
    verify_ms: int = 25
    call_ms: int = 150
    voices_ms: int = 600
    answer_ms: int = 1_500
