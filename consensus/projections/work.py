"""Who did what was asked: earnings (leaderboard), reliability (reputation), and how evenly rewards fall (fairness)."""

from __future__ import annotations

from dataclasses import dataclass

from consensus.ledger.event_log import Logged
from consensus.ledger.events import MemberChanged, ReputationScoreChanged, TaskChanged
from consensus.ledger.machine import Ledger
from consensus.ledger.records import Task, TaskState
from consensus.ledger.standing import FIRST_SCORE
from consensus.projections.rows import (
    Projection,
    RowReader,
    Rows,
    down,
    page_of,
    read,
    up,
    write,
)
from gossip.codec import Natural, Wire, decode

_NODE, _RANKED = b"e", b"l"
_MOST_TASKS = 2**32
_MANY = 2**31


class Earned(Wire, frozen=True):
    """What a node was paid for tasks, and for how many."""

    total: Natural
    tasks: Natural


class Conduct(Wire, frozen=True):
    """How often a node that had claimed a task settled it, how often not, and the ledger's score, 0 to 1000."""

    settled: Natural = 0
    failed: Natural = 0
    score: Natural = FIRST_SCORE

    @property
    def rank(self) -> int:
        """By the score first, by the work done where scores are equal."""
        return self.score * _MOST_TASKS + min(self.settled, _MOST_TASKS - 1)


@dataclass(frozen=True, slots=True)
class Fairness:
    """How rewards are spread over the members: 0 all the same, near 1 all to one. None before the first reward."""

    gini: float | None
    members: int
    total: int


def _paid(task: Task) -> tuple[bytes, int] | None:
    """Who is paid how much for a task that came to this."""
    if task.state is not TaskState.SETTLED:
        return None
    assert task.executor is not None
    return task.executor, task.reward


def _begin_earnings(rows: Rows, ledger: Ledger) -> None:
    for _, task in ledger.tasks(state=TaskState.SETTLED):
        _earn(rows, task)


def _on_earning(rows: Rows, logged: Logged) -> None:
    if isinstance(logged.event, TaskChanged):
        _earn(rows, logged.event.now)


def _earn(rows: Rows, task: Task) -> None:
    paid = _paid(task)
    if paid is None:
        return
    node, reward = paid
    before = read(rows, _NODE + node, Earned)
    if before is not None:
        rows.put(_RANKED + down(before.total) + node, None)
    now = Earned(reward, 1) if before is None else Earned(before.total + reward, before.tasks + 1)
    write(rows, _NODE + node, now)
    write(rows, _RANKED + down(now.total) + node, now)


LEADERBOARD = Projection("leaderboard", 1, frozenset({TaskChanged}), _begin_earnings, _on_earning)


def leaders(
    reader: RowReader, after: bytes | None, limit: int
) -> tuple[list[tuple[bytes, Earned]], bytes | None]:
    """A page of nodes by what they earned, the most first; and where the next one begins."""
    page = page_of(reader, _RANKED, after, limit)
    return [(key[9:], decode(value, Earned)) for key, value in page.rows], page.next_key


def _begin_conduct(rows: Rows, ledger: Ledger) -> None:
    for _, task in ledger.tasks():
        _end_task(rows, task)
    for node, known in ledger.reputations():
        _score(rows, node, known.score)


def _on_conduct(rows: Rows, logged: Logged) -> None:
    match logged.event:
        case ReputationScoreChanged() as event:
            _score(rows, event.node, event.score)
        case TaskChanged() as event:
            _end_task(rows, event.now)
        case _:
            pass


def _score(rows: Rows, node: bytes, score: int) -> None:
    before = conduct(rows, node) or Conduct()
    _put_conduct(rows, node, Conduct(before.settled, before.failed, score))


def _end_task(rows: Rows, task: Task) -> None:
    settled, failed = task.state is TaskState.SETTLED, task.state is TaskState.FAILED
    if task.executor is None or not (settled or failed):
        return
    before = conduct(rows, task.executor) or Conduct()
    now = Conduct(before.settled + settled, before.failed + failed, before.score)
    _put_conduct(rows, task.executor, now)


def _put_conduct(rows: Rows, node: bytes, now: Conduct) -> None:
    before = conduct(rows, node)
    if before is not None:
        rows.put(_RANKED + down(before.rank) + node, None)
    write(rows, _NODE + node, now)
    write(rows, _RANKED + down(now.rank) + node, now)


REPUTATION = Projection(
    "reputation", 3, frozenset({TaskChanged, ReputationScoreChanged}), _begin_conduct, _on_conduct
)


def conduct(reader: RowReader | Rows, node: bytes) -> Conduct | None:
    """A node's conduct; None if it never ended a task."""
    return read(reader, _NODE + node, Conduct)


def reputed(
    reader: RowReader, after: bytes | None, limit: int
) -> tuple[list[tuple[bytes, Conduct]], bytes | None]:
    """A page of nodes by their score, the best first; and where the next one begins."""
    page = page_of(reader, _RANKED, after, limit)
    return [(key[9:], decode(value, Conduct)) for key, value in page.rows], page.next_key


def _begin_shares(rows: Rows, ledger: Ledger) -> None:
    for node, _ in ledger.members():
        _share(rows, node, 0)
    for _, task in ledger.tasks(state=TaskState.SETTLED):
        _share_reward(rows, task)


def _on_share(rows: Rows, logged: Logged) -> None:
    match logged.event:
        case MemberChanged(node, None):
            _forget_unpaid(rows, node)
        case MemberChanged(node):
            _share(rows, node, 0)
        case TaskChanged() as event:
            _share_reward(rows, event.now)
        case _:
            pass


def _forget_unpaid(rows: Rows, node: bytes) -> None:
    """Who is no member any more and earned nothing has no share; what was earned stays."""
    before = read(rows, _NODE + node, Earned)
    if before is not None and not before.total:
        rows.put(_RANKED + up(0) + node, None)
        rows.put(_NODE + node, None)


def _share_reward(rows: Rows, task: Task) -> None:
    paid = _paid(task)
    if paid is not None:
        _share(rows, *paid)


def _share(rows: Rows, node: bytes, more: int) -> None:
    """Rows in the order of the earnings, least first: what the coefficient is summed over."""
    before = read(rows, _NODE + node, Earned)
    if before is not None:
        rows.put(_RANKED + up(before.total) + node, None)
    total = more + (0 if before is None else before.total)
    write(rows, _NODE + node, Earned(total, 0))
    rows.put(_RANKED + up(total) + node, b"")


FAIRNESS = Projection(
    "fairness", 1, frozenset({TaskChanged, MemberChanged}), _begin_shares, _on_share
)


def fairness(reader: RowReader) -> Fairness:
    """The Gini coefficient of what the members earned."""
    page = page_of(reader, _RANKED, None, _MANY)
    return gini([int.from_bytes(key[1:9], "big") for key, _ in page.rows])


def gini(shares: list[int]) -> Fairness:
    """The coefficient of shares in ascending order: sum((2i - n - 1) x_i) / (n sum(x_i)), i from 1."""
    count, total = len(shares), sum(shares)
    if not total:
        return Fairness(None, count, 0)
    weighted = sum((2 * at - count - 1) * share for at, share in enumerate(shares, 1))
    return Fairness(weighted / (count * total), count, total)
