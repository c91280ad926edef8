"""A task whose executor has vanished goes on as another node's; the first reward returns, whoever comes back."""

from __future__ import annotations

import pytest

from consensus.records import TaskState
from gossip.codec import Digest
from inference.asker import Stage
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
