"""How nodes have done at work that the ledger gave them: a score, and what repeated contradiction costs."""

from __future__ import annotations

from consensus.ledger.events import ReputationScoreChanged
from consensus.ledger.records import Reputation
from consensus.ledger.stake import take_percent
from consensus.ledger.state import Context, Draft
from consensus.ledger.tables import REPUTATION

FIRST_SCORE = 500
MOST = 1000
FOR_AGREEMENT = 10
FOR_MISMATCH = 100
MISMATCHES_PUNISHED = 3
"""So many in a row cost the slash percentage of the stake; then they are counted anew."""


def agreed(draft: Draft, context: Context, node: bytes) -> None:
    """A result was what the others had, too."""
    now = draft.get(REPUTATION, node) or Reputation(FIRST_SCORE)
    _put(draft, context, node, Reputation(min(MOST, now.score + FOR_AGREEMENT)), "agreed")


def contradicted(draft: Draft, context: Context, node: bytes) -> None:
    """A result was another one than that of most."""
    now = draft.get(REPUTATION, node) or Reputation(FIRST_SCORE)
    in_a_row = now.mismatches_in_a_row + 1
    score = max(0, now.score - FOR_MISMATCH)
    if in_a_row < MISMATCHES_PUNISHED:
        _put(draft, context, node, Reputation(score, in_a_row), "mismatch")
        return
    take_percent(draft, context, node)
    _put(draft, context, node, Reputation(score), "mismatches punished")


def _put(draft: Draft, context: Context, node: bytes, now: Reputation, reason: str) -> None:
    draft.put(REPUTATION, node, now)
    draft.emit(ReputationScoreChanged(node, now.score, reason, context.tx))
