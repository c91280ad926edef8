"""Anything may happen to three desks, in any order: what must hold all the same."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from consensus.ledger.records import TaskState
from consensus.operations.transactions import FailTask, SignedReceipt, content_hash
from gossip.codec import Digest
from inference.asker import ENDED_RECORDS, GRACE_MS, OPEN_STAGES, Stage
from inference.desk_events import (
    ExchangeLost,
    LedgerChanged,
    OfferReceived,
    ReplyReceived,
    SubmitRefused,
    TaskEvent,
    TimerFired,
    TransactRefused,
)
from inference.handoff import Accepted, Declined, Failed, Finished, Offer, Reply
from tests.consensus.world import HashVerifier
from tests.inference.desks import INPUT, KIND, LEAD_MS, OUTPUT, Node, Village

numbers = st.integers(0, 2)
picks = st.integers(0, 2**16)


class Desks(RuleBasedStateMachine):
    """Members that may crash, lose transactions, fail, lie; news and messages that come late, twice or never."""

    def __init__(self) -> None:
        super().__init__()
        self.village = Village()
        self.tasks: dict[Digest, Node] = {}
        self.inputs: dict[Digest, bytes] = {}
        self.late: list[tuple[Node, TaskEvent]] = []

    def node(self, number: int) -> Node:
        return self.village.nodes[number]

    def any_task(self, pick: int) -> Digest:
        known = [*self.tasks, Digest(b"?" * 32)]
        return known[pick % len(known)]

    @rule(asker=numbers, executor=st.sampled_from([0, 1, 1, 0, 1, 2]))
    def ask(self, asker: int, executor: int) -> None:
        node = self.node(asker)
        if node.is_up and len(self.tasks) < 12:
            content = INPUT + bytes([len(self.tasks)])
            task = node.ask(self.node(executor), content)
            self.tasks[task], self.inputs[task] = node, content

    @rule(number=numbers, pick=picks)
    def cancel(self, number: int, pick: int) -> None:
        if self.node(number).is_up:
            self.node(number).cancel(self.any_task(pick))

    @precondition(lambda self: self.village.exchanges)
    @rule(pick=picks, is_lost=st.sampled_from([False, False, True]))
    def move(self, pick: int, is_lost: bool) -> None:
        """One offer or reply arrives, or its stream breaks."""
        exchanges = self.village.exchanges
        exchange = exchanges[pick % len(exchanges)]
        if is_lost:
            self.village.lose(exchange)
        elif not exchange.arrived:
            self.village.arrive(exchange)
        elif exchange.replies:
            self.village.reply(exchange)

    @rule()
    def go_on(self) -> None:
        """Nothing goes wrong for a while."""
        self.hear(len(self.late))
        self.village.settle()

    @precondition(lambda self: any(node.work for node in self.village.nodes))
    @rule(number=st.integers(0, 1))
    def finish_all(self, number: int) -> None:
        node = self.node(number)
        for task in sorted(node.work):
            node.finish(task)

    @rule()
    def block(self) -> None:
        self.late += self.village.execute()

    @precondition(lambda self: self.late)
    @rule(count=st.integers(1, 8))
    def hear(self, count: int) -> None:
        """Nodes hear of blocks in order, but late."""
        news, self.late = self.late[:count], self.late[count:]
        self.village.hear(news)

    @precondition(lambda self: any(node.work for node in self.village.nodes))
    @rule(number=numbers, pick=picks, output=st.sampled_from([OUTPUT, b"rubbish", None]))
    def end_work(self, number: int, pick: int, output: bytes | None) -> None:
        node = self.node(number)
        if node.work and node.is_up:
            task = sorted(node.work)[pick % len(node.work)]
            if output is None:
                node.fail(task)
            else:
                node.finish(task, output)

    @rule(number=numbers, lose=st.booleans())
    def crash(self, number: int, lose: bool) -> None:
        node = self.node(number)
        if node.is_up:
            node.crash(lose_transactions=lose)
        self.late = [(other, event) for other, event in self.late if other is not node]

    @precondition(lambda self: not all(node.is_up for node in self.village.nodes))
    @rule(number=numbers)
    def start(self, number: int) -> None:
        if not self.node(number).is_up:
            self.node(number).start()

    @rule(number=numbers, pick=picks)
    def fire(self, number: int, pick: int) -> None:
        """The next timer runs out, or time has jumped and any of them does."""
        node = self.node(number)
        if node.is_up and node.timers:
            name = sorted(node.timers)[pick % len(node.timers)]
            del node.timers[name]
            node.tell(TimerFired(name))

    @rule(by_ms=st.sampled_from([100, 1_000, 20_000]))
    def pass_time(self, by_ms: int) -> None:
        self.village.town.now_ms += by_ms

    @precondition(lambda self: self.tasks)
    @rule(number=numbers, peer=numbers, pick=picks, kind=st.sampled_from([KIND, "paint"]))
    def offer_wrongly(self, number: int, peer: int, pick: int, kind: str) -> None:
        node, task = self.node(number), self.any_task(pick)
        content = self.inputs.get(task, INPUT) if pick % 2 else b"wrong"
        if node.is_up and number != peer:
            offer = Offer(task, kind, len(content))
            node.tell(OfferReceived(self.node(peer).node_id, offer, content))

    @precondition(lambda self: self.tasks)
    @rule(number=numbers, pick=picks, what=st.integers(0, 5))
    def say_wrongly(self, number: int, pick: int, what: int) -> None:
        """Words of the executor that come twice, late, or about another task."""
        node, task = self.node(number), self.any_task(pick)
        reply: Reply
        match what:
            case 0:
                reply = Accepted()
            case 1:
                reply = Declined("no")
            case 2:
                reply = Failed("no")
            case _:
                receipts = self.receipts()
                if not receipts:
                    return
                reply = Finished(receipts[pick % len(receipts)], len(OUTPUT))
        if node.is_up:
            node.tell(ReplyReceived(task, reply, OUTPUT))

    def receipts(self) -> list[SignedReceipt]:
        found = [
            record.receipt
            for node in self.village.nodes
            for record in node.desk.asked()
            if record.receipt is not None
        ]
        return sorted(found, key=lambda one: one.receipt.task)

    @precondition(lambda self: self.tasks)
    @rule(number=numbers, pick=picks, what=st.integers(0, 3))
    def tell_wrongly(self, number: int, pick: int, what: int) -> None:
        """News that is old or repeated, transactions that were dropped."""
        node, task = self.node(number), self.any_task(pick)
        events: list[TaskEvent] = [
            LedgerChanged(task, bytes(32), 1),
            ExchangeLost(task, "gone"),
            TransactRefused(FailTask(task, ""), "the node is busy"),
            SubmitRefused(task, "expired"),
        ]
        if node.is_up and (what < 3 or self.village.town.ledger.task(task) is None):
            if what == 1:  # the shell tells of a stream's end once it has ended
                for exchange in list(self.village.exchanges_with(node)):
                    if exchange.offer.offer.task == task and exchange.asker is node:
                        self.village.exchanges.remove(exchange)
            node.tell(events[what])

    @precondition(lambda self: any(node.mempool for node in self.village.nodes))
    @rule(number=numbers)
    def drop_transaction(self, number: int) -> None:
        """A mempool was full, or a transaction expired; its node is told."""
        node = self.node(number)
        if node.mempool:
            operation, kept = node.mempool.pop()
            if kept is None and node.is_up:
                node.tell(TransactRefused(operation, "the node is busy"))

    @invariant()
    def what_is_shown_as_settled_is(self) -> None:
        ledger = self.village.town.ledger
        for node in self.village.nodes:
            for record in node.desk.asked():
                if record.stage is not Stage.SETTLED:
                    continue
                task = Digest(record.task)
                known, output = ledger.task(task), node.desk.output(task)
                assert known is not None
                assert known.state is TaskState.SETTLED
                assert record.receipt is not None
                assert record.receipt == known.receipt
                assert record.receipt.is_signed(HashVerifier())
                assert output is not None
                assert record.receipt.receipt.output_hash == content_hash(output)

    @invariant()
    def nothing_grows_without_bound(self) -> None:
        for node in self.village.nodes:
            assert len(node.desk.asked()) <= ENDED_RECORDS
            assert len(node.timers) <= 4 * (len(self.tasks) + 1) + 8
            assert len(node.disk.pairs) <= 5 * len(self.tasks)

    def teardown(self) -> None:
        """Whoever crashed comes back, or an executor stays away: every task ends, and all rewards with it."""
        village = self.village
        self.late += village.execute()
        village.hear(self.late)
        for node in village.nodes:
            if not node.is_up and self.tasks and node in self.tasks.values():
                node.start()
        village.settle()
        for node in village.nodes:
            for task in sorted(node.work)[: len(self.tasks) % 3]:
                node.finish(task)
        village.wait(LEAD_MS + GRACE_MS + 60_000)
        village.wait(60_000)
        for task, node in self.tasks.items():
            record = node.desk.find(task)
            assert record is not None
            assert record.stage not in OPEN_STAGES, (record, village.town.ledger.task(task))
        assert village.escrow() == 0
        village.town.ledger.check_invariants()
        total = sum(village.town.balance(node.signer) for node in village.nodes)
        assert total == 3000
        for node in village.nodes:
            if node.is_up:
                assert node.desk.in_hand == 0
        self.what_is_shown_as_settled_is()
        self.nothing_grows_without_bound()


TestDesks = Desks.TestCase
TestDesks.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
