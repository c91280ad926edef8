"""How late nodes are for what they have to do: this one by its own clock, others by their own signed word.

A machine that is busy answers late, whoever asks. It knows by how much, since its own timers fire late; so it says that
in its signed life, and everybody allows it as much, in place of each accusing it once to find out. Nobody
can say so of another; who exaggerates is only missed later itself, by `MOST_MS` at most.
"""

from __future__ import annotations

from gossip.identity import NodeId

MOST_MS = 2_000
_LEAST_MS = 100
_STEP_MS = 500
_ALLOWED_MS = 120_000
_MAX_NOTED = 1_024


class Lateness:
    """Of this node and of all that have said something about theirs."""

    def __init__(self) -> None:
        self.own_ms = 0
        self._said: dict[NodeId, tuple[int, int]] = {}
        self._told: tuple[int, int] = (0, 0)

    def missed(self, late_ms: int) -> int:
        """By so much did we ourselves miss a moment; less is believed only little by little. By how much it grew."""
        before_ms = self.own_ms
        self.own_ms = max(min(late_ms, MOST_MS), before_ms * 15 // 16)
        return max(0, self.own_ms - before_ms)

    @property
    def declared_ms(self) -> int:
        """What our life says of it, in full steps; small delays are nobody's concern."""
        return min(
            MOST_MS, -(-self.own_ms // _STEP_MS) * _STEP_MS if self.own_ms >= _LEAST_MS else 0
        )

    def is_untold(self, now_ms: int) -> bool:
        """Whether all should hear of it, though nobody has complained yet."""
        return self.own_ms >= _STEP_MS and _is_news(now_ms, self._told, self.declared_ms)

    def tell(self, now_ms: int) -> bool:
        """A life of ours is signed; whether what it says of this is news, and to be told to all."""
        is_news = _is_news(now_ms, self._told, self.declared_ms)
        if is_news:
            self._told = self.declared_ms, now_ms + _ALLOWED_MS // 2
        return is_news

    def said(self, now_ms: int, node: NodeId, late_ms: int) -> bool:
        """A node has said so of itself, in a newer life than before; whether that is news."""
        known = self._said.pop(node, (0, 0))
        if late_ms == 0:
            return False
        self._said[node] = late_ms, now_ms + _ALLOWED_MS
        if len(self._said) > _MAX_NOTED:
            del self._said[next(iter(self._said))]
        return _is_news(now_ms, known, late_ms)

    def of(self, now_ms: int, node: NodeId) -> int:
        """So much longer another may take than others."""
        late_ms, until_ms = self._said.get(node, (0, 0))
        return late_ms if now_ms < until_ms else 0

    def check_invariants(self) -> None:
        """Bounds hold."""
        assert 0 <= self.own_ms <= MOST_MS
        assert len(self._said) <= _MAX_NOTED
        assert all(late_ms <= MOST_MS for late_ms, _ in self._said.values())


def _is_news(now_ms: int, known: tuple[int, int], late_ms: int) -> bool:
    known_ms, until_ms = known
    return late_ms > (known_ms if now_ms < until_ms else 0)
