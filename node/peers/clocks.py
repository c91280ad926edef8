"""Whose clock is wrong: compares the peers' clocks with this machine's, as their answers to pings show them.

Validators refuse blocks from the future, invites and deadlines go by the clock, so an owner must hear of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Protocol

import structlog

from gossip.identity import NodeId
from gossip.membership.notices import PeerEntry
from node.rounds import next_round

log = structlog.get_logger(__name__)

DRIFT_MS = 5_000
"""Blocks that are further ahead of a validator's clock are refused."""
REMEDY = "set the clock, by NTP best: a validator with a wrong clock holds the others up"
_LOOK_S = 5.0
_MAJORITY = 2


class Teller(Protocol):
    """Who tells the owner."""

    def wrong_clock(self, sentence: str) -> None:
        """A sentence for the terminal."""


class ClockWatch:
    """Tells once when a peer's clock goes wrong, and once when it is right again."""

    def __init__(self, table: Callable[[], Sequence[PeerEntry]], teller: Teller) -> None:
        self._table, self._teller = table, teller
        self._wrong: set[NodeId] = set()

    async def run(self) -> None:
        """Look now and then until cancelled."""
        while True:
            await next_round(_LOOK_S)
            for sentence in self.look():
                log.warning("clocks", what=sentence)
                self._teller.wrong_clock(sentence)

    def look(self) -> list[str]:
        """What has changed since the last look, in sentences."""
        said: list[str] = []
        offsets = {
            entry.node_id: (entry.name, entry.clock_offset_ms)
            for entry in self._table()
            if entry.connected and entry.clock_offset_ms is not None
        }
        for node, (name, offset_ms) in offsets.items():
            assert offset_ms is not None
            is_wrong = abs(offset_ms) > DRIFT_MS
            if is_wrong and node not in self._wrong:
                self._wrong.add(node)
                said.append(disagreement(name, offset_ms, [one for _, one in offsets.values()]))
            elif not is_wrong and node in self._wrong:
                self._wrong.discard(node)
                said.append(f"The clocks of {name} and of this machine agree again.")
        return said


def disagreement(name: str, offset_ms: int, offsets: Sequence[int | None]) -> str:
    """How a peer's clock stands, and which one is likely to be wrong, by the word of all peers."""
    known = [one for one in offsets if one is not None]
    side = "ahead of" if offset_ms > 0 else "behind"
    sentence = f"The clock of {name} is {abs(offset_ms) // 1000} s {side} this machine's"
    if len(known) >= _MAJORITY and abs(median(known)) > DRIFT_MS:
        return f"{sentence}, and most others agree with it: this machine's is wrong; {REMEDY}."
    if len(known) > _MAJORITY:
        return f"{sentence}, and most others agree with this one: its owner should {REMEDY}."
    return f"{sentence}; one of the two is wrong. On that machine, {REMEDY}."
