"""Suspicions and signs of life on their way to everybody: each is passed on so many times, newest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gossip.effects import Broadcast
from gossip.identity import NodeId
from gossip.membership.messages import MAX_RUMOURS, Rumours
from gossip.membership.pace import FANOUT, NEVER, Pace
from gossip.membership.suspicions import Life, Suspicion, retransmissions

_MAX_QUEUE = 4096
_CALM_TURNS = 5
LEAST = 2 * FANOUT
"""To so many each is passed on, however many tell it to us meanwhile: about one in four hundred misses that."""


@dataclass(slots=True)
class _Rumour:
    what: Suspicion | Life
    left: int
    is_calm: bool
    least: int = LEAST


class RumourMill:
    """What one node still has to pass on."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._queue: dict[tuple[bytes, bytes], _Rumour] = {}
        self._gossip_ms = 0
        self._ground_ms = -NEVER
        self._hurried_ms = -NEVER
        self.is_urgent = False
        """Whether what is passed on next is an accusation that nobody has heard from us."""

    @property
    def due_ms(self) -> int:
        """When there is something to pass on."""
        return self._gossip_ms if self._queue else NEVER

    def tell(
        self,
        now_ms: int,
        what: Suspicion | Life,
        size: int,
        most: int | None = None,
        *,
        is_calm: bool = False,
    ) -> None:
        """Pass on, as often as memberlist would among `size` members, or `most` times.

        A life makes older words on its node void. What `is_calm` waits for more of its kind: nobody is in danger.
        """
        times = retransmissions(size)
        if most is not None:
            times = min(times, most)
        if isinstance(what, Life):
            self.drop_suspicions(NodeId(what.node))
        if times == 0:
            return
        turn_ms = self._pace.gossip_ms * (_CALM_TURNS if is_calm else 1)
        next_ms = max(now_ms, self._ground_ms + turn_ms)
        self._gossip_ms = min(self._gossip_ms, next_ms) if self._queue else next_ms
        if isinstance(what, Suspicion):
            self._hurry(now_ms)
        self._queue[_key(what)] = _Rumour(what, times, is_calm)
        while len(self._queue) > _MAX_QUEUE:
            del self._queue[next(iter(self._queue))]

    def _hurry(self, now_ms: int) -> None:
        """What else there is to tell must not hold an accusation up, hop after hop.

        But right behind a turn it waits for the next one: where many are accused at once they go together.
        """
        turn_ms = self._pace.gossip_ms
        if now_ms - self._hurried_ms >= turn_ms and now_ms - self._ground_ms >= turn_ms // 2:
            self._gossip_ms, self._hurried_ms, self.is_urgent = now_ms, now_ms, True

    def drop_suspicions(self, node: NodeId) -> None:
        """It is there: nobody needs to hear from us that it may not be."""
        for stale in [one for one in self._queue if one[0] == node and one[1]]:
            del self._queue[stale]

    def echo(self, what: Suspicion | Life) -> None:
        """Somebody tells us what we know: it is that much better known, and told once less."""
        rumour = self._queue.get(_key(what))
        if rumour is not None and rumour.what == what and rumour.left > rumour.least:
            rumour.left -= 1
            if rumour.left <= 0:
                del self._queue[_key(what)]

    def grind(
        self,
        now_ms: int,
        to: Sequence[NodeId],
        life_of: Callable[[NodeId], tuple[Life, ...]],
    ) -> list[Broadcast]:
        """Pass on what was passed on least; with a suspicion goes what is known to speak against it."""
        self._ground_ms, self.is_urgent = now_ms, False
        told = sorted(self._queue.items(), key=lambda entry: -entry[1].left)[: MAX_RUMOURS // 2]
        suspicions, lives = [], []
        for key, rumour in told:
            rumour.left -= max(1, len(to))
            rumour.least -= max(1, len(to))
            if rumour.left <= 0:
                del self._queue[key]
            if isinstance(rumour.what, Suspicion):
                suspicions.append(rumour.what)
            else:
                lives.append(rumour.what)
        is_calm = all(rumour.is_calm for rumour in self._queue.values())
        self._gossip_ms = now_ms + self._pace.gossip_ms * (_CALM_TURNS if is_calm else 1)
        accused = dict.fromkeys(one.node for one in suspicions)
        lives.extend(life for node in accused for life in life_of(NodeId(node)))
        if not to:
            return []
        return [Broadcast(tuple(to), Rumours(tuple(suspicions), tuple(dict.fromkeys(lives))))]

    def check_invariants(self) -> None:
        """Bounds hold."""
        assert len(self._queue) <= _MAX_QUEUE


def _key(what: Suspicion | Life) -> tuple[bytes, bytes]:
    return what.node, what.accuser if isinstance(what, Suspicion) else b""
