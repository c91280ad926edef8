"""Deaths that gossip has missed, by bad luck or while a node was not there.

A pong says how many members have been dead to its sender for a while. Who knows of fewer asks that
one for its own voices against the others, a few at a time, and looks into each as if it had been
told by gossip. So a liar that says too little costs nothing, and one that says too much a short
question now and then.
"""

from __future__ import annotations

from gossip.effects import Effect, Send
from gossip.identity import NodeId
from gossip.membership.cases import Cases
from gossip.membership.lots import Lots
from gossip.membership.messages import FetchDeaths
from gossip.membership.roster import Roster
from gossip.membership.voices import MAX_VOICES, split_tags, tagged

SETTLED_MS = 2_000
"""Longer than members usually differ in when they conclude on a death."""
PAUSE_MS = 5_000
_LONGEST_PAUSE_MS = 320_000
_MAX_TOLD = 8
_MAX_ASKED = 1_024


class MissedDeaths:
    """Of one node.

    Each further question to a peer that says more than we know waits four times as long: it may take for
    dead whom we reach, and is not to be blamed for that again and again.
    """

    def __init__(self, cases: Cases, roster: Roster, lots: Lots) -> None:
        self._cases, self._roster, self._lots = cases, roster, lots
        self._asked: dict[NodeId, tuple[int, int]] = {}

    def count(self, now_ms: int) -> int:
        """What our pongs say."""
        return len(self._cases.dead(now_ms - SETTLED_MS))

    def on_count(self, now_ms: int, peer: NodeId, dead: int) -> list[Effect]:
        """The pong of a peer that we have asked says so many."""
        until_ms, pause_ms = self._asked.get(peer, (now_ms, PAUSE_MS))
        if now_ms < until_ms:
            return []
        if dead <= len(self._cases.dead(now_ms)):
            # Not before the pause is over: or who says now this and now that would be asked each time.
            self._asked.pop(peer, None)
            return []
        if peer not in self._roster.friends():
            return []
        self._asked.pop(peer, None)
        self._asked[peer] = now_ms + pause_ms, min(4 * pause_ms, _LONGEST_PAUSE_MS)
        if len(self._asked) > _MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        salt = int(self._lots.jitter() * (2**32 - 1))
        known = tagged(salt, self._cases.accused())
        return [Send(peer, FetchDeaths(salt, b"".join(list(known)[:MAX_VOICES])))]

    def on_fetch(self, now_ms: int, peer: NodeId, fetch: FetchDeaths) -> list[Effect]:
        """Say what we have against some of the dead that the peer does not know as accused."""
        known = frozenset(split_tags(fetch.known))
        dead = tagged(fetch.salt, self._cases.dead(now_ms))
        lacking = [node for tag, node in dead.items() if tag not in known]
        if not lacking:
            return []
        return [Send(peer, self._cases.own_words(self._lots.draw(lacking, _MAX_TOLD)))]

    def check_invariants(self) -> None:
        """Bounds hold."""
        assert len(self._asked) <= _MAX_ASKED
