"""A task whose executor has vanished goes on as another node's; the first reward returns, whoever comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from consensus.ledger.records import TaskState
from gossip.codec import Digest
from inference.asker import Stage
from inference.desk_events import NobodyElse
from tests.inference.desks import LEAD_MS, REWARD, Node, Village


def vanished(village: Village) -> tuple[Node, Digest]:
    """A movable task of the last node that the first one has claimed before it went down."""
    executor, _, asker = village.nodes
    task = asker.ask(executor, movable=True)
    village.settle()
    assert village.task(task).state is TaskState.ASSIGNED
    executor.crash()
    village.settle()
    return asker, task


@pytest.mark.parametrize("restarts", [False, True])
def test_another_node_finishes_it_and_the_first_reward_comes_back(restarts: bool) -> None:
    village = Village()
    asker, task = vanished(village)
    if restarts:
        asker.restart()
        village.settle()
    (record,) = asker.desk.movable()
    assert record.task == task
    other = village.nodes[1]
    successor = asker.ask(other, movable=True, instead_of=task)
    assert (asker.stage(task), "is gone" in asker.reason(task)) == (Stage.FAILED, True)
    older = asker.desk.find(task)
    assert older is not None
    assert older.taken_over_by == successor
    assert [one.task for one in asker.desk.movable()] == [successor]
    village.settle()
    other.finish(successor)
    village.settle()
    assert asker.stage(successor) is Stage.SETTLED
    assert asker.desk.movable() == []
    assert village.escrow() == REWARD
    village.wait(LEAD_MS + 2_000)
    assert village.escrow() == 0
    assert village.task(task).state is TaskState.FAILED


def test_the_first_executor_that_comes_back_is_refunded_for_nothing_and_changes_nothing() -> None:
    village = Village()
    asker, task = vanished(village)
    executor, other, _ = village.nodes
    successor = asker.ask(other, instead_of=task)
    village.settle()
    executor.restart()
    village.settle()
    other.finish(successor)
    village.settle()
    assert (asker.stage(task), asker.stage(successor)) == (Stage.FAILED, Stage.SETTLED)
    assert village.task(task).state is TaskState.FAILED, "who lost its work gives its claim back"
    assert village.escrow() == 0


def test_a_task_for_a_named_node_is_nobody_elses_nor_is_one_that_has_its_output() -> None:
    village = Village()
    executor, _, asker = village.nodes
    asker.ask(executor)
    done = asker.ask(executor, b"other", movable=True)
    village.settle()
    assert [one.task for one in asker.desk.movable()] == [done]
    executor.finish(done)
    village.talk()
    assert asker.desk.movable() == []
    late = asker.ask(village.nodes[1], b"other", instead_of=done)
    village.settle()
    assert asker.stage(done) is Stage.SETTLED, "what has ended well is not taken over"
    assert late != done


def test_who_accepts_and_vanishes_before_its_claim_is_final_is_waited_for_no_less() -> None:
    village = Village()
    executor, other, asker = village.nodes
    task = asker.ask(executor, movable=True)
    village.block()
    village.talk()
    executor.crash(lose_transactions=True)
    village.settle()
    village.wait(5_000)
    assert village.task(task).state is TaskState.QUEUED
    assert [one.task for one in asker.desk.movable()] == [task]
    successor = asker.ask(other, movable=True, instead_of=task)
    village.settle()
    other.finish(successor)
    village.settle()
    assert asker.stage(successor) is Stage.SETTLED
    assert village.escrow() == 0, "nobody had claimed the first: its reward returns at once"


def lost(village: Village) -> tuple[Node, Digest]:
    """A movable task whose executor was down before it heard of it."""
    executor, _, asker = village.nodes
    executor.crash()
    task = asker.ask(executor, movable=True)
    village.block()
    village.settle()
    return asker, task


def declined(village: Village) -> tuple[Node, Digest]:
    """A movable task for a node that does not do such."""
    executor, _, asker = village.nodes
    executor.kinds = ()
    task = asker.ask(executor, movable=True)
    village.block()
    village.settle()
    return asker, task


@pytest.mark.parametrize(
    ("begin", "reason"), [(lost, "is gone; another"), (declined, "declined: ")]
)
def test_what_an_executor_never_accepted_moves_on_and_its_reward_returns_at_once(
    begin: Callable[[Village], tuple[Node, Digest]], reason: str
) -> None:
    village = Village()
    asker, task = begin(village)
    village.wait(5_000)
    assert [one.task for one in asker.desk.movable()] == [task]
    assert asker.desk.was_declined(task) == (begin is declined)
    assert village.exchanges == []
    other = village.nodes[1]
    successor = asker.ask(other, movable=True, instead_of=task)
    assert (asker.stage(task), reason in asker.reason(task)) == (Stage.FAILED, True)
    village.settle()
    other.finish(successor)
    village.settle()
    assert asker.stage(successor) is Stage.SETTLED
    assert village.task(task).state is TaskState.CANCELLED
    assert village.escrow() == 0


@pytest.mark.parametrize("begin", [lost, declined])
def test_where_no_other_node_can_have_it_the_task_has_failed_and_says_why(
    begin: Callable[[Village], tuple[Node, Digest]],
) -> None:
    village = Village()
    asker, task = begin(village)
    reason = asker.reason(task)
    asker.tell(NobodyElse(task))
    village.settle()
    assert asker.stage(task) is Stage.FAILED
    assert asker.reason(task) == f"{reason}; no other node can have it"
    assert village.escrow() == 0
    assert asker.desk.movable() == []


def test_what_is_at_work_is_not_ended_for_want_of_another_node() -> None:
    village = Village()
    asker, task = vanished(village)
    asker.tell(NobodyElse(task))
    assert asker.stage(task) is Stage.RUNNING
    village.nodes[0].restart()
    village.settle()


def test_after_a_restart_who_declined_is_asked_again() -> None:
    village = Village()
    asker, task = declined(village)
    asker.restart()
    village.nodes[0].kinds = village.nodes[1].kinds
    village.settle()
    village.nodes[0].finish(task)
    village.settle()
    assert asker.stage(task) is Stage.SETTLED
