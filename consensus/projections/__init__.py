"""Read models: what callers ask for often, made of the events of the log and of nothing else.

A projection is a pair of plain functions over rows, `begin(rows, genesis)` and `apply(rows, logged)`, with a name and a
version (`rows.py`). Whoever keeps its rows (the node: `node/chain/projector.py`) also keeps a cursor for each, so that
each can be dropped and made again by itself, while the others and the node go on. The same events give the same rows.

`accounts.py`, `transactions.py`, `validators.py`, `tasks.py`, `work.py` (leaderboard, reputation, fairness): each has
its projection and the questions that it answers.
"""

from consensus.projections.accounts import ACCOUNTS
from consensus.projections.rows import Projection, RowReader, Rows
from consensus.projections.tasks import TASKS
from consensus.projections.transactions import TRANSACTIONS
from consensus.projections.validators import VALIDATORS
from consensus.projections.work import FAIRNESS, LEADERBOARD, REPUTATION

PROJECTIONS: tuple[Projection, ...] = (
    ACCOUNTS,
    TRANSACTIONS,
    VALIDATORS,
    TASKS,
    LEADERBOARD,
    REPUTATION,
    FAIRNESS,
)

__all__ = ["PROJECTIONS", "Projection", "RowReader", "Rows"]
