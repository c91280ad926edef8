"""Suspicions and signs of life on their way to everybody: each node passes each on twice, newest first.

The first time to members by lot, the second time to those that follow it in the order of ids, in steps of a width that
is another one for each accused: so each member is one of the next for as many as any other, and whom the lots have
missed is told then. Nobody is told what it has told us. Liars can't sit before a member in all these orders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from gossip.effects import Broadcast
from gossip.identity import NodeId
from gossip.membership.lots import Lots
from gossip.membership.messages import MAX_RUMOURS, Rumours
from gossip.membership.pace import FANOUT, NEVER, Pace
from gossip.membership.suspicions import Life, Suspicion

_MAX_QUEUE = 4096
_CALM_TURNS = 5
TURNS = 2
"""So often each is passed on: the first time to `FANOUT` members."""


@dataclass(slots=True)
class _Rumour:
    """`knowing` are those that told us, and those that we told."""

    what: Suspicion | Life
    knowing: set[NodeId]
    left: int
    is_calm: bool
    is_fresh: bool = True


class RumourMill:
    """What one node still has to pass on."""

    def __init__(self, node: NodeId, pace: Pace, lots: Lots) -> None:
        self._node, self._pace, self._lots = node, pace, lots
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
        knowing: set[NodeId],
        turns: int = TURNS,
        *,
        is_calm: bool = False,
    ) -> None:
        """Pass on, so many times, to others than those `knowing`; it grows by those that hear it from us.

        A life makes older words on its node void. What `is_calm` waits for more of its kind: nobody is in danger.
        """
        if isinstance(what, Life):
            self.drop_suspicions(NodeId(what.node))
        turn_ms = self._pace.gossip_ms * (_CALM_TURNS if is_calm else 1)
        next_ms = max(now_ms, self._ground_ms + turn_ms)
        self._gossip_ms = min(self._gossip_ms, next_ms) if self._queue else next_ms
        if isinstance(what, Suspicion):
            self._hurry(now_ms)
        self._queue[_key(what)] = _Rumour(what, knowing, turns, is_calm)
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

    def echo(self, peer: NodeId, life: Life) -> None:
        """A peer tells us what we know: it need not hear it from us."""
        rumour = self._queue.get(_key(life))
        if rumour is not None and rumour.what == life:
            rumour.knowing.add(peer)

    def grind(
        self,
        now_ms: int,
        friends: Sequence[NodeId],
        life_of: Callable[[NodeId], tuple[Life, ...]],
        followers: int,
    ) -> list[Broadcast]:
        """Pass on what was passed on least; with a suspicion goes what is known to speak against it.

        What is not told for the first time is told to so many `followers`.
        """
        self._ground_ms, self.is_urgent = now_ms, False
        told = sorted(self._queue.items(), key=lambda entry: -entry[1].left)[: MAX_RUMOURS // 2]
        to: list[NodeId] = []
        while told and not to:
            to = self._listeners(told[0][1], friends, followers)
            if not to:
                del self._queue[told.pop(0)[0]]
        suspicions, lives = [], []
        for key, rumour in told:
            rumour.left, rumour.is_fresh = rumour.left - 1, False
            rumour.knowing.update(to)
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

    def _listeners(
        self, rumour: _Rumour, friends: Sequence[NodeId], followers: int
    ) -> list[NodeId]:
        """Who is to hear this now, and what else there is with it."""
        lacking = [peer for peer in friends if peer not in rumour.knowing]
        if rumour.is_fresh or not lacking:
            return sorted(self._lots.draw(lacking, FANOUT))
        follow = (peer for peer in self._following(rumour.what, friends) if peer in lacking)
        return sorted(islice(dict.fromkeys((*islice(follow, followers), *lacking)), followers))

    def _following(self, what: Suspicion | Life, friends: Sequence[NodeId]) -> Iterator[NodeId]:
        """Who comes after us, if all of us use the same steps."""
        order = sorted([*friends, self._node])
        at, size = order.index(self._node), len(order)
        width = 1 + (int.from_bytes(what.node[:4], "big") + what.incarnation) % (size - 1)
        return (order[(at + width * steps) % size] for steps in range(1, size))

    def check_invariants(self) -> None:
        """Bounds hold."""
        assert len(self._queue) <= _MAX_QUEUE


def _key(what: Suspicion | Life) -> tuple[bytes, bytes]:
    return what.node, what.accuser if isinstance(what, Suspicion) else b""
