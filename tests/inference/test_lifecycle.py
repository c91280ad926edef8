"""Stories of tasks: who asks, who works, what breaks, and what the asker is told in the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from consensus.ledger.records import TaskState
from consensus.operations.transactions import CompleteTask, Usage, content_hash, sign_receipt
from gossip.codec import Digest
from gossip.identity import NodeId
from inference import asker as asker_module
from inference import executor as executor_module
from inference.asker import GRACE_MS, Stage
from inference.desk_events import (
    ExchangeLost,
    LedgerChanged,
    OfferReceived,
    ReplyReceived,
    SubmitRefused,
    TimerFired,
    TransactRefused,
    WorkDone,
    WorkFailed,
)
from inference.executor import CAPACITY, KEEP_MS, MAX_WAITING, RETRY_MS
from inference.handoff import Accepted, Declined, Failed, Finished, Offer, Reply
from tests.inference.desks import INPUT, KIND, LEAD_MS, OUTPUT, REWARD, Exchange, Node, Village


@pytest.fixture
def village() -> Village:
    return Village()


def claimed(village: Village, asker: Node, executor: Node) -> Digest:
    """A task that its executor has accepted and claimed; its work goes on."""
    task = asker.ask(executor)
    village.block()
    village.settle()
    assert village.task(task).executor == executor.node_id
    return task


def assert_settled(village: Village, asker: Node, task: Digest) -> None:
    record = asker.desk.find(task)
    assert record is not None
    assert record.stage is Stage.SETTLED
    assert asker.desk.output(task) == OUTPUT
    assert village.task(task).state is TaskState.SETTLED
    assert record.receipt == village.task(task).receipt
    assert record.last_height > 0


def assert_refunded(village: Village, asker: Node, task: Digest, stage: Stage, why: str) -> None:
    record = asker.desk.find(task)
    assert record is not None
    assert record.stage is stage
    assert why in record.reason
    assert village.escrow() == 0
    assert village.town.balance(asker.signer) == 1000


def test_an_own_task_is_done_here_and_settled(village: Village) -> None:
    node = village.nodes[0]
    task = claimed(village, node, node)
    node.finish(task)
    village.settle()
    assert_settled(village, node, task)
    stages = [Stage.QUEUED, Stage.ASSIGNED, Stage.RUNNING, Stage.SETTLED]
    assert list(dict.fromkeys(node.shown[task])) == stages
    assert village.town.balance(node.signer) == 1000
    assert node.desk.in_hand == 0


def test_a_peer_does_a_task_and_is_paid(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    assert asker.stage(task) is Stage.RUNNING
    executor.finish(task)
    village.settle()
    assert_settled(village, asker, task)
    assert village.town.balance(executor.signer) == 1000 + REWARD
    assert village.town.balance(asker.signer) == 1000 - REWARD


def test_the_output_waits_until_the_claim_is_final(village: Village) -> None:
    _, executor, asker = village.nodes
    task = asker.ask(executor)
    village.block()
    village.talk()
    executor.finish(task)
    village.talk()
    assert asker.desk.output(task) is None
    village.settle()
    assert_settled(village, asker, task)


def test_an_offer_may_come_before_the_executor_sees_the_task(village: Village) -> None:
    _, executor, asker = village.nodes
    task = asker.ask(executor)
    executor.tell(OfferReceived(asker.node_id, Offer(task, KIND, len(INPUT)), INPUT))
    assert executor.desk.in_hand == 0
    village.block()
    assert executor.desk.in_hand == 1
    village.settle()
    executor.finish(task)
    village.settle()
    assert_settled(village, asker, task)


def replies_to(village: Village, offered: OfferReceived) -> list[Reply]:
    """What an executor, node 1, says to an offer that only the test makes."""
    exchange = Exchange(village.node(offered.peer), village.nodes[1].node_id, offered)  # type: ignore[arg-type]  # as like as an OfferTo here
    exchange.arrived = True
    village.exchanges.append(exchange)
    village.nodes[1].tell(offered)
    village.exchanges.remove(exchange)
    return [reply for reply, _ in exchange.replies]


def why_declined(replies: list[Reply]) -> str:
    assert len(replies) == 1
    assert isinstance(replies[0], Declined)
    return replies[0].reason


def test_an_unknown_kind_is_declined_and_the_reward_returns(village: Village) -> None:
    executor, _, asker = village.nodes
    task = asker.ask(executor, kind="paint")
    village.block()
    village.settle()
    assert_refunded(village, asker, task, Stage.FAILED, "does not do tasks of kind 'paint'")


def test_an_executor_without_room_declines(village: Village) -> None:
    _, executor, asker = village.nodes
    tasks = [claimed(village, asker, executor) for _ in range(CAPACITY)]
    task = asker.ask(executor)
    village.block()
    village.settle()
    assert asker.stage(task) is Stage.FAILED
    assert f"{CAPACITY} tasks in hand" in asker.reason(task)
    assert village.task(task).state is TaskState.CANCELLED
    executor.finish(tasks[0])
    village.settle()
    claimed(village, asker, executor)


def test_own_tasks_find_room_however_many_strangers_have(village: Village) -> None:
    _, executor, asker = village.nodes
    for _ in range(CAPACITY):
        claimed(village, asker, executor)
    claimed(village, executor, executor)


def test_a_task_that_never_gets_on_the_ledger_is_declined(village: Village) -> None:
    _, executor, asker = village.nodes
    offered = OfferReceived(asker.node_id, Offer(Digest(bytes(32)), KIND, 5), b"wrong")
    assert replies_to(village, offered) == []
    village.wait(20_000)
    assert executor.timers == {}
    executor.desk.check_invariants()


def test_offers_of_unseen_tasks_are_bounded_for_each_peer_and_in_all(village: Village) -> None:
    for number in range(2 * MAX_WAITING):
        task = Digest(number.to_bytes(32, "big"))
        for node in (village.nodes[0], village.nodes[2]):
            replies = replies_to(
                village, OfferReceived(node.node_id, Offer(task, KIND, 5), b"wrong")
            )
            assert (not replies) == (number < 2)


def test_whoever_offers_first_does_not_keep_the_real_asker_out(village: Village) -> None:
    stranger, executor, asker = village.nodes
    task = asker.ask(executor)
    executor.tell(OfferReceived(stranger.node_id, Offer(task, KIND, 5), b"wrong"))
    village.block()
    village.settle()
    executor.finish(task)
    village.settle()
    assert_settled(village, asker, task)


def test_only_the_asker_may_offer(village: Village) -> None:
    stranger, executor, asker = village.nodes
    task = asker.ask(executor)
    village.block()
    offered = OfferReceived(stranger.node_id, Offer(task, KIND, len(INPUT)), INPUT)
    assert "asked for by somebody else" in why_declined(replies_to(village, offered))
    village.settle()
    executor.finish(task)
    village.settle()
    assert "asked for by somebody else" in why_declined(replies_to(village, offered))


@pytest.mark.parametrize(("kind", "content"), [(KIND, b"something else"), ("rank", INPUT)])
def test_what_is_offered_must_be_what_the_ledger_says(
    village: Village, kind: str, content: bytes
) -> None:
    _, executor, asker = village.nodes
    task = asker.ask(executor)
    village.block()
    offered = OfferReceived(asker.node_id, Offer(task, kind, len(content)), content)
    assert "not those on the ledger" in why_declined(replies_to(village, offered))


def test_a_task_reserved_for_another_node_is_declined(village: Village) -> None:
    other, executor, asker = village.nodes
    task = asker.ask(executor, reserved_for=other.node_id)
    village.block()
    village.settle()
    assert_refunded(village, asker, task, Stage.FAILED, "reserved for another node")


def test_a_task_whose_deadline_has_passed_is_declined(village: Village) -> None:
    _, _, asker = village.nodes
    task = asker.ask(village.nodes[1])
    village.block()
    village.exchanges.clear()
    village.town.now_ms += LEAD_MS
    offered = OfferReceived(asker.node_id, Offer(task, KIND, len(INPUT)), INPUT)
    assert "deadline has passed" in why_declined(replies_to(village, offered))


def test_a_second_offer_joins_the_first(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    offered = OfferReceived(asker.node_id, Offer(task, KIND, len(INPUT)), INPUT)
    assert replies_to(village, offered) == [Accepted()]
    assert executor.desk.in_hand == 1
    assert len(executor.work) == 1


def test_a_failing_executor_is_told_with_its_reason(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    executor.fail(task, "no memory")
    village.settle()
    assert_refunded(village, asker, task, Stage.FAILED, "the executor failed: no memory")
    assert executor.desk.in_hand == 0


def test_an_executor_that_fails_before_its_claim_is_final_gives_it_back(village: Village) -> None:
    _, executor, asker = village.nodes
    task = asker.ask(executor)
    village.block()
    village.arrive(village.exchanges[0])
    executor.fail(task)
    village.block()
    village.settle()
    assert_refunded(village, asker, task, Stage.FAILED, "no memory")
    assert executor.desk.in_hand == 0


def test_an_own_task_that_fails_is_told_and_refunded(village: Village) -> None:
    node = village.nodes[0]
    task = claimed(village, node, node)
    node.fail(task, "no memory")
    village.settle()
    assert_refunded(village, node, task, Stage.FAILED, "no memory")


def test_an_executor_that_cannot_be_reached_fails_the_task_at_once(village: Village) -> None:
    _, executor, asker = village.nodes
    executor.crash()
    task = asker.ask(executor)
    village.block()
    village.settle()
    assert_refunded(village, asker, task, Stage.FAILED, "the executor was lost: no route")


def test_an_executor_lost_between_accepting_and_claiming_fails_the_task(village: Village) -> None:
    _, executor, asker = village.nodes
    task = asker.ask(executor)
    village.block()
    village.talk()
    executor.crash(lose_transactions=True)
    village.wait(5_000)
    assert_refunded(village, asker, task, Stage.FAILED, "lost")


def test_an_asker_that_restarts_before_it_sees_the_claim_asks_again(village: Village) -> None:
    _, executor, asker = village.nodes
    task = asker.ask(executor)
    village.block()
    village.talk()
    asker.restart()
    asker.tell(ExchangeLost(task, "the peer is not connected"))
    assert asker.stage(task) is Stage.RUNNING
    village.block()
    executor.finish(task)
    village.settle()
    assert_settled(village, asker, task)


def test_an_executor_lost_after_its_claim_fails_the_task_at_its_deadline(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    executor.crash()
    village.wait(LEAD_MS // 2)
    assert asker.stage(task) is Stage.RUNNING
    assert "trying again" in asker.reason(task)
    village.wait(LEAD_MS)
    assert_refunded(village, asker, task, Stage.FAILED, "deadline passed without a result")


def test_an_executor_that_comes_back_without_the_work_says_so_at_once(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    executor.restart()
    village.wait(5_000)
    assert_refunded(village, asker, task, Stage.FAILED, "no longer has the work")


def test_a_claim_that_lands_after_its_executor_restarted_is_given_back(village: Village) -> None:
    _, executor, asker = village.nodes
    task = asker.ask(executor)
    village.block()
    village.talk()
    executor.restart()
    village.settle()
    village.wait(5_000)
    assert village.escrow() == 0
    assert asker.stage(task) is Stage.FAILED


def test_an_output_that_was_lost_on_its_way_is_asked_for_again(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    executor.finish(task)
    village.lose(village.exchanges[0])
    assert "trying again" in asker.reason(task)
    village.wait(5_000)
    assert_settled(village, asker, task)


def test_an_output_may_arrive_after_the_ledger_has_settled(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    executor.finish(task)
    executor.tell(TimerFired(f"settle/{task.hex()}"))
    village.block()
    assert village.task(task).state is TaskState.SETTLED
    assert asker.stage(task) is Stage.RUNNING
    village.settle()
    assert_settled(village, asker, task)


def test_an_executor_that_restarts_before_its_receipt_is_settled_settles_it(
    village: Village,
) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    executor.finish(task)
    executor.restart(lose_transactions=True)
    village.wait(5_000)
    assert_settled(village, asker, task)


def test_a_paid_executor_whose_output_never_comes_is_told(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    executor.finish(task)
    executor.tell(TimerFired(f"settle/{task.hex()}"))
    executor.crash()
    village.block()
    village.wait(LEAD_MS + GRACE_MS + 5_000)
    assert asker.stage(task) is Stage.FAILED
    assert "never reached this node" in asker.reason(task)
    assert village.escrow() == 0


def test_an_executor_that_never_settles_its_receipt_loses_the_reward(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    executor.finish(task)
    village.talk()
    executor.crash(lose_transactions=True)
    village.wait(LEAD_MS)
    assert asker.stage(task) is Stage.RUNNING
    village.wait(GRACE_MS + 5_000)
    assert_refunded(village, asker, task, Stage.FAILED, "never settled its receipt")


def test_a_backend_that_never_answers_ends_with_the_deadline(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    asker.crash()
    village.wait(LEAD_MS + 5_000)
    assert village.task(task).state is TaskState.FAILED
    assert executor.desk.in_hand == 0
    executor.finish(task)
    assert executor.disk.scan(b"kept/") == []
    asker.start()
    assert_refunded(village, asker, task, Stage.FAILED, "deadline")


def test_an_own_task_that_is_overdue_stays_failed_when_its_work_ends_late(village: Village) -> None:
    node = village.nodes[0]
    task = claimed(village, node, node)
    village.wait(LEAD_MS + 5_000)
    assert_refunded(village, node, task, Stage.FAILED, "deadline")
    node.finish(task)
    village.settle()
    assert node.stage(task) is Stage.FAILED


class TestTheAskerRestarts:
    def test_before_the_task_is_on_the_ledger(self, village: Village) -> None:
        _, executor, asker = village.nodes
        task = asker.ask(executor)
        asker.restart()
        assert asker.stage(task) is Stage.QUEUED
        village.block()
        village.settle()
        executor.finish(task)
        village.settle()
        assert_settled(village, asker, task)

    def test_and_its_transaction_is_lost(self, village: Village) -> None:
        _, executor, asker = village.nodes
        task = asker.ask(executor)
        asker.restart(lose_transactions=True)
        village.wait(LEAD_MS)
        assert asker.stage(task) is Stage.FAILED
        assert "lost by a restart" in asker.reason(task)

    def test_and_its_transaction_turns_up_when_it_was_given_up(self, village: Village) -> None:
        _, executor, asker = village.nodes
        task = asker.ask(executor)
        kept = asker.mempool
        asker.restart(lose_transactions=True)
        asker.tell(SubmitRefused(task, "expired"))
        asker.mempool = kept
        village.block()
        village.settle()
        assert_refunded(village, asker, task, Stage.FAILED, "expired")

    @pytest.mark.parametrize("is_finished", [False, True])
    def test_while_the_task_is_worked_on(self, village: Village, is_finished: bool) -> None:
        _, executor, asker = village.nodes
        task = claimed(village, asker, executor)
        asker.crash()
        if is_finished:
            executor.finish(task)
            village.block()
        asker.start()
        village.settle()
        if not is_finished:
            executor.finish(task)
            village.settle()
        assert_settled(village, asker, task)

    def test_after_the_output_came_and_before_it_is_settled(self, village: Village) -> None:
        _, executor, asker = village.nodes
        task = claimed(village, asker, executor)
        executor.finish(task)
        village.talk()
        asker.crash()
        village.block()
        asker.start()
        village.settle()
        assert asker.stage(task) is Stage.SETTLED
        assert asker.desk.output(task) == OUTPUT

    def test_with_an_own_task_in_hand(self, village: Village) -> None:
        node = village.nodes[0]
        task = claimed(village, node, node)
        node.restart()
        village.settle()
        assert_refunded(village, node, task, Stage.FAILED, "no longer has the work")

    def test_after_its_disk_was_lost_and_takes_its_rewards_back(self, village: Village) -> None:
        _, executor, asker = village.nodes
        queued = asker.ask(executor)
        village.execute()
        assert village.task(queued).state is TaskState.QUEUED
        claimed(village, asker, executor)
        executor.crash()
        asker.crash()
        asker.disk.pairs.clear()
        asker.start()
        village.wait(2 * LEAD_MS)
        assert village.escrow() == 0
        assert asker.desk.asked() == []


class TestCancelling:
    def test_before_the_ledger_shows_the_task(self, village: Village) -> None:
        _, executor, asker = village.nodes
        task = asker.ask(executor)
        asker.cancel(task)
        village.block()
        village.settle()
        assert_refunded(village, asker, task, Stage.CANCELLED, "cancelled by its asker")
        assert executor.work == {}

    def test_before_it_is_claimed(self, village: Village) -> None:
        _, executor, asker = village.nodes
        task = asker.ask(executor)
        village.block()
        asker.cancel(task)
        village.block()
        village.settle()
        assert_refunded(village, asker, task, Stage.CANCELLED, "cancelled by its asker")

    def test_beaten_by_the_claim_does_nothing(self, village: Village) -> None:
        _, executor, asker = village.nodes
        task = asker.ask(executor)
        village.block()
        village.talk()
        asker.cancel(task)
        village.settle()
        assert asker.stage(task) is Stage.RUNNING
        executor.finish(task)
        village.settle()
        assert_settled(village, asker, task)

    def test_beating_the_claim_ends_the_work(self, village: Village) -> None:
        executor, _, asker = village.nodes
        task = asker.ask(executor)
        village.block()
        village.talk()
        claim, executor.mempool = executor.mempool, []
        executor.finish(task)
        asker.cancel(task)
        village.block()
        executor.mempool = claim
        village.settle()
        assert_refunded(village, asker, task, Stage.CANCELLED, "cancelled")
        assert asker.desk.output(task) is None
        assert executor.desk.in_hand == 0

    def test_after_the_end_and_of_unknown_tasks_does_nothing(self, village: Village) -> None:
        _, executor, asker = village.nodes
        task = claimed(village, asker, executor)
        asker.cancel(task)
        executor.finish(task)
        village.settle()
        asker.cancel(task)
        asker.cancel(Digest(bytes(32)))
        assert_settled(village, asker, task)


Lie = Callable[[Node, Finished, bytes], tuple[Reply, bytes]]


def another_output(_: Node, reply: Finished, content: bytes) -> tuple[Reply, bytes]:
    return reply, content + b"!"


def another_task(node: Node, reply: Finished, content: bytes) -> tuple[Reply, bytes]:
    receipt = type(reply.signed.receipt)(
        **{
            name: getattr(reply.signed.receipt, name)
            for name in reply.signed.receipt.__struct_fields__
            if name != "task"
        },
        task=bytes(32),
    )
    return Finished(sign_receipt(node.signer, receipt), len(content)), content


def a_false_signature(_: Node, reply: Finished, content: bytes) -> tuple[Reply, bytes]:
    signed = type(reply.signed)(reply.signed.receipt, bytes(64))
    return Finished(signed, len(content)), content


@pytest.mark.parametrize("lie", [another_output, another_task, a_false_signature])
def test_an_output_without_a_true_receipt_is_thrown_away(village: Village, lie: Lie) -> None:
    _, executor, asker = village.nodes

    def lying(reply: Reply, content: bytes) -> tuple[Reply, bytes]:
        return lie(executor, reply, content) if isinstance(reply, Finished) else (reply, content)

    village.adversary = lying
    task = claimed(village, asker, executor)
    executor.finish(task)
    village.settle()
    assert asker.stage(task) is Stage.FAILED
    assert "receipt" in asker.reason(task)
    assert asker.desk.output(task) is None


def test_an_output_that_is_none_of_its_kind_is_thrown_away(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    executor.finish(task, b"rubbish")
    village.settle()
    assert asker.stage(task) is Stage.FAILED
    assert "not one of kind 'embed'" in asker.reason(task)
    assert asker.desk.output(task) is None


def test_a_receipt_settled_for_another_output_is_told(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    executor.finish(task)
    village.talk()
    ((operation, _),) = executor.mempool
    assert isinstance(operation, CompleteTask)
    receipt = operation.signed.receipt
    fields = {name: getattr(receipt, name) for name in receipt.__struct_fields__}
    other = type(receipt)(**fields | {"output_hash": content_hash(b"another")})
    executor.mempool = [(CompleteTask(sign_receipt(executor.signer, other)), None)]
    village.settle()
    assert asker.stage(task) is Stage.FAILED
    assert "paid for another output" in asker.reason(task)


def test_a_deadline_that_the_blocks_have_not_reached_is_waited_for(village: Village) -> None:
    """Block time lags behind the asker's clock: the first try to take the reward back comes too early."""
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    executor.crash()
    clock_ms = village.now_ms
    village.town.now_ms += LEAD_MS + 2_000
    asker.tell(LedgerChanged(task, bytes(32), 1))
    for name in [name for name in asker.timers if name.startswith("overdue")]:
        del asker.timers[name]
        asker.tell(TimerFired(name))
    assert asker.stage(task) is Stage.FAILED
    village.town.now_ms = clock_ms
    village.block()
    assert village.task(task).state is TaskState.ASSIGNED
    village.wait(2 * LEAD_MS)
    assert_refunded(village, asker, task, Stage.FAILED, "deadline")


def refuse(node: Node) -> None:
    """The node's mempool is full: what it has just handed in is dropped."""
    waiting, node.mempool = node.mempool, []
    for operation, _ in waiting:
        node.tell(TransactRefused(operation, "the node is busy"))


def test_a_reward_that_could_not_be_taken_back_is_taken_back_later(village: Village) -> None:
    _, executor, asker = village.nodes
    executor.crash()
    task = asker.ask(executor)
    village.block()
    village.talk()
    refuse(asker)
    assert village.task(task).state is TaskState.QUEUED
    village.wait(RETRY_MS + 1_000)
    assert_refunded(village, asker, task, Stage.FAILED, "no route")


def test_a_receipt_that_could_not_be_handed_in_is_handed_in_later(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    executor.finish(task)
    refuse(executor)
    village.wait(RETRY_MS + 1_000)
    assert_settled(village, asker, task)


def test_a_claim_that_could_not_be_handed_in_fails_the_task(village: Village) -> None:
    _, executor, asker = village.nodes
    task = asker.ask(executor)
    village.block()
    village.talk()
    refuse(executor)
    village.settle()
    assert_refunded(village, asker, task, Stage.FAILED, "the claim was refused")
    assert executor.desk.in_hand == 0


def test_a_submission_that_fails_is_told(village: Village) -> None:
    _, executor, asker = village.nodes
    task = asker.ask(executor, lead_ms=500)
    village.block()
    assert asker.stage(task) is Stage.FAILED
    assert "deadline" in asker.reason(task)


@pytest.mark.parametrize("number", range(3))
def test_words_about_unknown_tasks_change_nothing(village: Village, number: int) -> None:
    node, task = village.nodes[number], Digest(b"?" * 32)
    before = dict(node.disk.pairs)
    done = claimed(village, village.nodes[2], village.nodes[1])
    village.nodes[1].finish(done)
    village.settle()
    record = village.nodes[2].desk.find(done)
    assert record is not None
    assert record.receipt is not None
    finished = Finished(record.receipt, len(OUTPUT))
    for reply in (Accepted(), Declined("no"), Failed("no"), finished):
        node.tell(ReplyReceived(task, reply, b""))
        node.tell(ReplyReceived(done, reply, OUTPUT))
    node.tell(ExchangeLost(task, "gone"))
    node.tell(WorkFailed(task, "gone"))
    node.tell(LedgerChanged(task, bytes(32), 1))
    node.tell(SubmitRefused(task, "gone"))
    assert all(key in node.disk.pairs or key not in before for key in before)
    assert_settled(village, village.nodes[2], done)


def test_finished_outputs_are_given_away_only_for_a_while(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    executor.finish(task)
    village.settle()
    offered = OfferReceived(asker.node_id, Offer(task, KIND, len(INPUT)), INPUT)
    (reply,) = replies_to(village, offered)
    assert isinstance(reply, Finished)
    executor.restart()
    village.wait(KEEP_MS + 1_000)
    assert executor.disk.pairs == {}
    (reply,) = replies_to(village, offered)
    assert isinstance(reply, Failed)


def test_finished_outputs_are_bounded(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "KEPT_OUTPUTS", 3)
    monkeypatch.setattr(executor_module, "KEPT_BYTES", 2 * len(OUTPUT))
    _, executor, asker = village.nodes
    for _ in range(5):
        task = claimed(village, asker, executor)
        executor.finish(task)
        village.settle()
        assert_settled(village, asker, task)
    assert len(executor.disk.scan(b"kept/")) == len(executor.disk.scan(b"result/")) == 2
    executor.restart()
    executor.desk.check_invariants()


def test_ended_tasks_are_bounded(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asker_module, "ENDED_RECORDS", 4)
    monkeypatch.setattr(asker_module, "ENDED_BYTES", 2 * len(INPUT + OUTPUT))
    _, executor, asker = village.nodes
    tasks = []
    for _ in range(6):
        tasks.append(claimed(village, asker, executor))
        executor.finish(tasks[-1])
        village.settle()
    assert [asker.desk.find(task) is not None for task in tasks] == [False, False, *[True] * 4]
    assert [asker.desk.output(task) is not None for task in tasks] == [*[False] * 4, True, True]
    assert [asker.desk.input(task) is not None for task in tasks] == [*[False] * 4, True, True]
    asker.restart()
    assert {one.task for one in asker.desk.asked()} == set(tasks[2:])


def test_a_desk_on_the_same_disk_remembers_all_tasks(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    executor.finish(task)
    village.settle()
    before = asker.desk.asked()
    asker.restart()
    assert asker.desk.asked() == before
    assert NodeId(before[0].executor) == executor.node_id


def test_work_is_told_how_long_it_may_take(village: Village) -> None:
    _, executor, asker = village.nodes
    task = asker.ask(executor, lead_ms=7_000)
    village.block()
    village.talk()
    assert executor.work[task].timeout_ms == village.task(task).deadline_ms - village.now_ms


def test_work_that_ends_twice_counts_once(village: Village) -> None:
    _, executor, asker = village.nodes
    task = claimed(village, asker, executor)
    usage = Usage(1, 2, 3)
    executor.tell(WorkDone(task, OUTPUT, bytes(32), usage, bytes(32)))
    executor.tell(WorkDone(task, b"another", bytes(32), usage, bytes(32)))
    executor.tell(WorkFailed(task, "too late"))
    village.settle()
    assert_settled(village, asker, task)
