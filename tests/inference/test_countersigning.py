"""The asker's signature under its executor's receipt: made when an output is checked, kept by both."""

from __future__ import annotations

from consensus.ledger.records import TaskState
from consensus.operations.groups import AgreementRule
from consensus.operations.transactions import CompleteTask, SettleTask
from gossip.codec import Digest
from inference.asker import Stage
from inference.desk_events import CountersignReceived
from inference.executor import COUNTERSIGN_MS
from tests.consensus.world import HashVerifier
from tests.inference.desks import OUTPUT, REWARD, Node, Village


def handed_over(village: Village) -> tuple[Digest, bytes]:
    """A task of node 2 that node 0 has finished, and what node 2 signed."""
    executor, asker = village.nodes[0], village.nodes[2]
    village.countersigns = False
    task = asker.ask(executor)
    village.settle()
    executor.finish(task)
    village.settle()
    record = asker.desk.find(task)
    assert record is not None
    assert record.receipt is not None
    assert record.countersignature is not None
    assert record.receipt.is_countersigned(HashVerifier(), record.countersignature)
    return task, record.countersignature


def test_the_executor_keeps_it_over_a_restart_and_both_show_the_same() -> None:
    village = Village()
    task, signature = handed_over(village)
    executor, asker = village.nodes[0], village.nodes[2]
    assert executor.desk.countersignature(task) is None
    executor.tell(CountersignReceived(asker.node_id, task, signature))
    executor.restart()
    assert executor.desk.countersignature(task) == signature
    assert asker.desk.countersignature(task) == signature


def test_the_ledger_settles_by_the_word_of_both() -> None:
    village = Village()
    executor, asker = village.nodes[0], village.nodes[2]
    task = asker.ask(executor)
    village.settle()
    executor.finish(task)
    village.talk()
    ((operation, _),) = executor.mempool
    assert isinstance(operation, SettleTask)
    assert operation.countersignature == asker.desk.countersignature(task)
    village.settle()
    assert asker.stage(task) is Stage.SETTLED


def test_an_asker_that_keeps_its_word_back_holds_the_pay_up_for_two_seconds() -> None:
    village = Village()
    task, signature = handed_over(village)
    executor, asker = village.nodes[0], village.nodes[2]
    assert executor.mempool == []
    village.wait(COUNTERSIGN_MS - 1)
    assert asker.stage(task) is Stage.RUNNING
    village.wait(1)
    assert asker.stage(task) is Stage.SETTLED
    executor.tell(CountersignReceived(asker.node_id, task, signature))
    assert executor.mempool == [], "a word that comes late is kept, and settles nothing twice"
    assert executor.desk.countersignature(task) == signature


def test_after_a_restart_a_settlement_waits_for_nobody() -> None:
    village = Village()
    task, _ = handed_over(village)
    executor, asker = village.nodes[0], village.nodes[2]
    executor.restart()
    village.settle()
    assert asker.stage(task) is Stage.SETTLED


def test_nobody_elses_word_is_kept() -> None:
    village = Village()
    task, signature = handed_over(village)
    executor, other, asker = village.nodes
    executor.tell(CountersignReceived(other.node_id, task, signature))
    executor.tell(CountersignReceived(asker.node_id, task, bytes(64)))
    executor.tell(CountersignReceived(asker.node_id, Digest(bytes(32)), signature))
    assert executor.desk.countersignature(task) is None


def compared(village: Village) -> tuple[Node, tuple[Digest, ...]]:
    """A group of two whose asker compares; both results are fixed, and nobody can copy them any more."""
    asker = village.nodes[-1]
    tasks = asker.ask_group(village.nodes[:-1], rule=AgreementRule.ATTESTED)
    village.settle()
    for node, task in zip(village.nodes, tasks, strict=False):
        node.finish(task, OUTPUT)
    village.talk()
    village.block()
    assert [village.task(task).state for task in tasks] == [TaskState.COMMITTED] * 2
    return asker, tasks


def test_where_the_asker_compares_a_result_is_opened_by_the_word_of_both() -> None:
    village = Village()
    asker, tasks = compared(village)
    village.talk()
    for node, task in zip(village.nodes, tasks, strict=False):
        ((operation, _),) = node.mempool
        assert isinstance(operation, SettleTask)
        assert operation.countersignature == asker.desk.countersignature(task)
    village.block()
    assert [node.mempool for node in village.nodes[:-1]] == [[], []], "nothing is opened twice"
    village.settle()
    assert [asker.stage(task) for task in tasks] == [Stage.SETTLED] * 2


def test_an_asker_that_compares_and_does_not_sign_holds_up_the_opening_for_two_seconds() -> None:
    village = Village()
    village.countersigns = False
    asker, tasks = compared(village)
    village.settle()
    village.wait(COUNTERSIGN_MS - 1)
    assert [village.task(task).state for task in tasks] == [TaskState.COMMITTED] * 2
    assert [asker.desk.output(task) for task in tasks] == [OUTPUT] * 2
    village.wait(1)
    assert [asker.stage(task) for task in tasks] == [Stage.SETTLED] * 2
    assert village.town.balance(village.nodes[0].signer) == 1000 + REWARD


def test_who_has_little_time_left_opens_without_waiting_for_a_word() -> None:
    village = Village()
    asker, tasks = compared(village)
    village.nodes[0].crash()
    village.wait(village.task(tasks[0]).deadline_ms - village.now_ms + 45_000)
    village.nodes[0].start()
    ((operation, _),) = village.nodes[0].mempool
    assert isinstance(operation, CompleteTask)
    assert not isinstance(operation, SettleTask)
    assert asker.desk.output(tasks[0]) is None


def test_where_equal_results_decide_both_keep_the_askers_word_after_the_pay() -> None:
    village = Village()
    asker = village.nodes[-1]
    tasks = asker.ask_group(village.nodes[:-1])
    village.settle()
    for node, task in zip(village.nodes, tasks, strict=False):
        node.finish(task, OUTPUT)
    village.settle()
    for node, task in zip(village.nodes, tasks, strict=False):
        assert asker.stage(task) is Stage.SETTLED
        assert asker.desk.countersignature(task) is not None
        assert node.desk.countersignature(task) == asker.desk.countersignature(task)
