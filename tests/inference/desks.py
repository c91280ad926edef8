"""Desks of two or three nodes, a real ledger, and everything between them in the hands of a test.

Nothing happens by itself: a test lets time pass, blocks be made, messages arrive, work end. Streams break
and nodes crash when it says so. What a node persisted before it crashed is all that it has afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from consensus.ledger.events import TaskChanged
from consensus.ledger.records import Task
from consensus.operations.groups import AgreementRule, SubmitGroup, member_id
from consensus.operations.transactions import (
    Operation,
    SubmitTask,
    Transaction,
    Usage,
    content_hash,
    task_id,
)
from gossip.codec import Digest
from gossip.effects import CancelTimer, Notify, Persist, SetTimer
from gossip.identity import NodeId
from inference.asker import AskedTask, Stage
from inference.desk_events import (
    Answer,
    Asked,
    Cancelled,
    CountersignReceived,
    ExchangeLost,
    LedgerChanged,
    OfferReceived,
    OfferTo,
    ReplyReceived,
    Started,
    SubmitRefused,
    TaskEvent,
    TimerFired,
    Transact,
    TransactRefused,
    Work,
    WorkDone,
    WorkFailed,
)
from inference.group_work import GroupView
from inference.handoff import Finished, Reply, is_last
from inference.kinds import EmbedOutput, encode_output
from inference.lifecycle import TaskDesk
from tests.consensus.world import HashSigner, HashVerifier, MemoryReader, Town

KIND = "embed"
INPUT = b"what is asked"
OUTPUT = encode_output(EmbedOutput(vectors=bytes(8), dimensions=2))
MODEL = bytes(32)
REWARD = 10
LEAD_MS = 60_000
NO_NODE = NodeId(bytes(32))


@dataclass
class Exchange:
    """One stream from an asker to an executor, and the replies that have not arrived yet."""

    asker: Node
    executor: NodeId
    offer: OfferTo
    arrived: bool = False
    replies: list[tuple[Reply, bytes]] = field(default_factory=list)


class Node:
    """A desk with its disk, timers, pending transactions and running work."""

    def __init__(self, village: Village, number: int, kinds: tuple[str, ...]) -> None:
        self.village, self.number, self.kinds = village, number, kinds
        self.signer: HashSigner = village.town.nodes[number]
        self.node_id = self.signer.node_id
        self.disk = MemoryReader()
        self.is_up = False
        self.shown: dict[Digest, list[Stage]] = {}
        self.reset()
        self.start()

    def reset(self) -> None:
        self.timers: dict[str, int] = {}
        self.work: dict[Digest, Work] = {}
        self.mempool: list[tuple[Operation, Transaction | None]] = []

    def start(self) -> None:
        ledger = self.village.town.ledger
        self.desk = TaskDesk(
            chain=ledger.genesis.federation_id,
            signer=self.signer,
            verifier=HashVerifier(),
            serves=lambda kind: kind in self.kinds,
            ledger=GroupView.of(ledger),
            own_tasks=self._own_tasks,
            reader=self.disk,
        )
        self.is_up = True
        self.tell(Started())

    def _own_tasks(self) -> list[tuple[Digest, Task]]:
        return [
            (Digest(name), task)
            for name, task in self.village.town.ledger.tasks()
            if task.is_open and self.node_id in (task.submitter, task.executor)
        ]

    def crash(self, *, lose_transactions: bool = False) -> None:
        """Go down. Transactions are gossiped, so they may outlive their node."""
        kept = [] if lose_transactions else self.mempool
        self.reset()
        self.mempool = kept
        self.is_up = False
        for exchange in self.village.exchanges_with(self):
            self.village.lose(exchange)

    def restart(self, *, lose_transactions: bool = False) -> None:
        self.crash(lose_transactions=lose_transactions)
        self.start()

    def tell(self, event: TaskEvent) -> None:
        assert self.is_up
        effects = self.desk.handle(self.village.now_ms, event)
        self.desk.check_invariants()
        for effect in effects:
            match effect:
                case Persist():
                    self.disk.write(effect.writes)
                case SetTimer():
                    self.timers[effect.name] = self.village.now_ms + effect.delay_ms
                case CancelTimer():
                    self.timers.pop(effect.name, None)
                case Notify(what=AskedTask() as record):
                    self.shown.setdefault(Digest(record.task), []).append(record.stage)
                case Transact():
                    self.mempool.append((effect.operation, None))
                case OfferTo():
                    assert effect.executor != self.node_id
                    self.village.exchanges.append(Exchange(self, effect.executor, effect))
                case Work():
                    self.work[effect.task] = effect
                case Answer():
                    self.village.answer(self, effect)
                case _:
                    raise AssertionError(effect)

    def ask(
        self,
        executor: Node,
        content: bytes = INPUT,
        *,
        lead_ms: int = LEAD_MS,
        kind: str = KIND,
        reserved_for: NodeId | None = None,
        movable: bool = False,
        instead_of: Digest | None = None,
    ) -> Digest:
        """A user's task: noted, and its transaction in the mempool."""
        deadline_ms = self.village.now_ms + lead_ms
        submit = SubmitTask(
            kind, content_hash(content), REWARD, reserved_for or executor.node_id, deadline_ms
        )
        nonce = self.village.town.nonce(self.signer) + len(self.mempool)
        transaction = self.village.town.signed(self.signer, submit, nonce=nonce)
        name = task_id(transaction.id, 0)
        asked = Asked(name, kind, content, executor.node_id, deadline_ms, transaction.id)
        self.mempool.append((submit, transaction))
        self.tell(replace(asked, movable=movable, instead_of=instead_of))
        return name

    def ask_group(
        self,
        executors: Sequence[Node],
        *,
        agreement: int = 2,
        rule: AgreementRule = AgreementRule.EQUAL,
        drawn: int = 0,
    ) -> tuple[Digest, ...]:
        """The same task for several nodes, or for as many as the ledger is to draw; the members' ids."""
        deadline_ms = self.village.now_ms + LEAD_MS
        named = tuple(one.node_id for one in executors)
        size = drawn or len(named)
        submit = SubmitGroup(
            KIND, content_hash(INPUT), REWARD, size, agreement, rule, named, deadline_ms
        )
        nonce = self.village.town.nonce(self.signer) + len(self.mempool)
        transaction = self.village.town.signed(self.signer, submit, nonce=nonce)
        group = task_id(transaction.id, 0)
        names = tuple(member_id(group, place) for place in range(size))
        for name, executor in zip(names, named or (NO_NODE,) * size, strict=True):
            self.tell(Asked(name, KIND, INPUT, executor, deadline_ms, transaction.id))
        self.mempool.append((submit, transaction))
        return names

    def cancel(self, task: Digest) -> None:
        self.tell(Cancelled(task))

    def finish(self, task: Digest, output: bytes = OUTPUT) -> None:
        self.work.pop(task)
        nonce = blake2b(task + self.node_id, digest_size=32).digest()
        self.tell(WorkDone(task, output, MODEL, Usage(1, 2, 3), nonce))

    def fail(self, task: Digest, reason: str = "no memory") -> None:
        self.work.pop(task)
        self.tell(WorkFailed(task, reason))

    def stage(self, task: Digest) -> Stage:
        record = self.desk.find(task)
        assert record is not None
        return record.stage

    def reason(self, task: Digest) -> str:
        record = self.desk.find(task)
        assert record is not None
        return record.reason


class Village:
    """Members that do `embed`, two unless told otherwise, and a last one that does nothing but ask.

    `adversary` may rewrite replies.
    """

    def __init__(self, workers: int = 2) -> None:
        self.town = Town((1,) * (workers + 1))
        self.exchanges: list[Exchange] = []
        self.nodes: list[Node] = []
        for number, kinds in enumerate((*((KIND,),) * workers, ())):
            self.nodes.append(Node(self, number, kinds))
        self.countersigns = True
        """Whether askers sign for what they got."""
        self.adversary: Callable[[Reply, bytes], tuple[Reply, bytes]] | None = None

    @property
    def now_ms(self) -> int:
        return self.town.now_ms

    def node(self, node_id: NodeId) -> Node:
        return next(node for node in self.nodes if node.node_id == node_id)

    def exchanges_with(self, node: Node) -> list[Exchange]:
        return [one for one in self.exchanges if one.asker is node or one.executor == node.node_id]

    def answer(self, executor: Node, answer: Answer) -> None:
        """Put a reply on the newest stream of this peer and task."""
        for exchange in reversed(self.exchanges):
            offer = exchange.offer.offer
            parties = (exchange.asker.node_id, exchange.executor)
            if parties == (answer.peer, executor.node_id) and offer.task == answer.task:
                if exchange.arrived:
                    reply = (answer.reply, answer.content)
                    exchange.replies.append(self.adversary(*reply) if self.adversary else reply)
                return

    def arrive(self, exchange: Exchange) -> None:
        """The offer reaches the executor, if it is up."""
        executor = self.node(exchange.executor)
        if not executor.is_up:
            self.lose(exchange)
            return
        exchange.arrived = True
        offer = exchange.offer
        executor.tell(OfferReceived(exchange.asker.node_id, offer.offer, offer.content))

    def reply(self, exchange: Exchange) -> None:
        """The next reply reaches the asker."""
        reply, content = exchange.replies.pop(0)
        if is_last(reply):
            self.exchanges.remove(exchange)
        task = Digest(exchange.offer.offer.task)
        exchange.asker.tell(ReplyReceived(task, reply, content))
        if isinstance(reply, Finished) and self.countersigns:
            self._countersign(exchange, task, reply)

    def _countersign(self, exchange: Exchange, task: Digest, reply: Finished) -> None:
        """The asker's last word, if the output was good."""
        record, executor = exchange.asker.desk.find(task), self.node(exchange.executor)
        if record is None or record.receipt != reply.signed or not executor.is_up:
            return
        if record.countersignature is not None:
            word = CountersignReceived(exchange.asker.node_id, task, record.countersignature)
            executor.tell(word)

    def lose(self, exchange: Exchange) -> None:
        """The stream breaks, with what was on it."""
        self.exchanges.remove(exchange)
        if exchange.asker.is_up:
            task = Digest(exchange.offer.offer.task)
            exchange.asker.tell(ExchangeLost(task, "the executor was lost: no route"))

    def talk(self) -> None:
        """All that is on streams arrives."""
        while True:
            waiting = [one for one in self.exchanges if not one.arrived or one.replies]
            if not waiting:
                return
            if waiting[0].arrived:
                self.reply(waiting[0])
            else:
                self.arrive(waiting[0])

    def block(self) -> None:
        """All that waits in mempools is executed; the nodes that are up hear of it."""
        self.hear(self.execute())

    def execute(self) -> list[tuple[Node, TaskEvent]]:
        """Execute all that waits; what is to be told to whom."""
        transactions: list[tuple[Node, Operation, Transaction]] = []
        for node in self.nodes:
            nonce = self.town.nonce(node.signer)
            for operation, kept in node.mempool:
                signed = kept or self.town.signed(node.signer, operation, nonce=nonce)
                nonce += signed.body.nonce == nonce
                transactions.append((node, operation, signed))
            node.mempool = []
        result = self.town.block(*(signed for _, _, signed in transactions))
        news: list[tuple[Node, TaskEvent]] = []
        for event in result.events:
            if isinstance(event, TaskChanged):
                changed = LedgerChanged(Digest(event.task_id), event.transaction, result.height)
                news += ((node, changed) for node in self.nodes)
        for (node, operation, signed), outcome in zip(transactions, result.outcomes, strict=True):
            if not outcome.ok and isinstance(operation, SubmitTask):
                news.append((node, SubmitRefused(task_id(signed.id, 0), outcome.reason)))
            elif not outcome.ok:
                news.append((node, TransactRefused(operation, outcome.reason)))
        return news

    def hear(self, news: list[tuple[Node, TaskEvent]]) -> None:
        for node, event in news:
            if node.is_up:
                node.tell(event)

    def settle(self) -> None:
        """Blocks and messages until nothing more happens; nobody's work ends."""
        while True:
            self.talk()
            if not any(node.mempool for node in self.nodes):
                return
            self.block()

    def wait(self, delay_ms: int) -> None:
        """Time passes, timers fire, and all that they lead to happens."""
        end_ms = self.now_ms + delay_ms
        while True:
            due = sorted(
                (at, node.number, name)
                for node in self.nodes
                if node.is_up
                for name, at in node.timers.items()
                if at <= end_ms
            )
            if not due:
                break
            at, number, name = due[0]
            self.town.now_ms = max(self.town.now_ms, at)
            del self.nodes[number].timers[name]
            self.nodes[number].tell(TimerFired(name))
            self.settle()
        self.town.now_ms = max(self.town.now_ms, end_ms)
        self.block()
        self.settle()

    def task(self, name: Digest) -> Task:
        known = self.town.ledger.task(name)
        assert known is not None
        return known

    def escrow(self) -> int:
        return sum(task.reward for _, task in self.town.ledger.tasks() if task.is_open)
