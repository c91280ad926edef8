"""What must hold of tasks: the money, their ends, and what an honest node says of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from consensus.blocks import Block
from consensus.ledger.events import TaskChanged, TaskGroupChanged
from consensus.ledger.machine import BlockResult, Ledger
from consensus.ledger.records import Task, TaskState
from consensus.operations.groups import AgreementRule
from consensus.operations.transactions import CompleteTask, FailTask, Transfer, content_hash
from gossip.codec import Digest
from gossip.identity import Verifier
from inference.asker import AskedTask, Stage
from inference.desk_events import Answer, Transact, Work
from inference.handoff import Failed, Finished
from simulations.violations import ViolationError

if TYPE_CHECKING:
    from simulations.tasks.node_events import Countersign
    from simulations.tasks.whole_node import WholeNode

_MAY_FOLLOW: dict[TaskState | None, frozenset[TaskState]] = {
    None: frozenset({TaskState.QUEUED}),
    TaskState.QUEUED: frozenset({TaskState.ASSIGNED, TaskState.CANCELLED, TaskState.FAILED}),
    TaskState.ASSIGNED: frozenset({TaskState.COMMITTED, TaskState.SETTLED, TaskState.FAILED}),
    TaskState.COMMITTED: frozenset({TaskState.REVEALED, TaskState.FAILED}),
    TaskState.REVEALED: frozenset({TaskState.SETTLED, TaskState.FAILED}),
}
_ENDS = frozenset({TaskState.SETTLED, TaskState.FAILED, TaskState.CANCELLED})


class Books:
    """A second account of the federation's money, kept from what tasks and transfers say alone."""

    def __init__(self, balances: dict[bytes, int], verifier: Verifier) -> None:
        self._balances, self._verifier = dict(balances), verifier
        self._tasks: dict[bytes, Task] = {}
        self._equal: set[bytes] = set()
        """Groups whose executors are paid for equal results, whatever their asker says."""
        self._waiting: dict[int, tuple[Block, BlockResult]] = {}
        self.height = 0
        self.truth: dict[bytes, bytes] = {}
        """The hash of the right answer, by the hash of the input."""
        self.sound: frozenset[bytes] = frozenset()
        """The nodes that tell no lies about tasks."""
        self.marks: Counter[str] = Counter()

    def executed(self, ledger: Ledger, block: Block, result: BlockResult) -> None:
        """A node has executed a block; each height is booked once, in order."""
        if block.height <= self.height:
            return
        self._waiting[block.height] = block, result
        while self.height + 1 in self._waiting:
            self.height += 1
            self._book(*self._waiting.pop(self.height))
        if self.height == block.height:
            self._compare(ledger)

    def _book(self, block: Block, result: BlockResult) -> None:
        for transaction, outcome in zip(block.transactions, result.outcomes, strict=True):
            for operation in transaction.body.operations if outcome.ok else ():
                if isinstance(operation, Transfer):
                    self._move(transaction.body.sender, -operation.amount)
                    self._move(operation.to, operation.amount)
        for event in result.events:
            if isinstance(event, TaskChanged):
                self._change(event.task_id, event.now)
            elif isinstance(event, TaskGroupChanged) and event.now.rule is AgreementRule.EQUAL:
                self._equal.add(event.group_id)

    def _move(self, owner: bytes, amount: int) -> None:
        self._balances[owner] = self._balances.get(owner, 0) + amount

    def _change(self, name: bytes, now: Task) -> None:
        before = self._tasks.get(name)
        state = None if before is None else before.state
        if now.state not in _MAY_FOLLOW.get(state, frozenset()):
            was = "ended" if state in _ENDS else "stood"
            raise ViolationError(
                "one end",
                f"task {name.hex()[:8]} {was} as {state and state.value}, then {now.state.value}",
            )
        self._tasks[name] = now
        match now.state:
            case TaskState.QUEUED:
                self._move(now.submitter, -now.reward)
            case TaskState.SETTLED:
                assert now.executor is not None
                self._move(now.executor, now.reward)
                self._judge(name, now)
            case TaskState.FAILED | TaskState.CANCELLED:
                self._move(now.submitter, now.reward)
            case TaskState.ASSIGNED if now.reserved_for not in (None, now.executor):
                raise ViolationError("claims", f"task {name.hex()[:8]} was another's to claim")
            case _:
                pass
        kind = "member of a group" if now.group is not None else "task"
        self.marks[f"{kind} {now.state.value}"] += 1

    def _judge(self, name: bytes, now: Task) -> None:
        """Money went to who signed for this input; where equal results decide, for what the sound majority said."""
        signed = now.receipt
        if signed is None or not signed.is_signed(self._verifier):
            raise ViolationError("receipts", f"task {name.hex()[:8]} is settled without a receipt")
        said = signed.receipt
        if (said.task, said.input_hash, said.executor) != (name, now.input_hash, now.executor):
            raise ViolationError(
                "receipts", f"task {name.hex()[:8]} is settled by another's receipt"
            )
        if now.group not in self._equal or now.input_hash not in self.truth:
            return
        mates = [one for one in self._tasks.values() if one.group == now.group]
        sound = sum(one.reserved_for in self.sound for one in mates)
        is_wrong = said.output_hash != self.truth[now.input_hash]
        if is_wrong and 2 * sound > len(mates):
            raise ViolationError(
                "wrong answers", f"a majority is sound, and {name.hex()[:8]} is paid for a lie"
            )

    def _compare(self, ledger: Ledger) -> None:
        for owner, expected in self._balances.items():
            account = ledger.account(owner)
            balance = 0 if account is None else account.balance
            if balance != expected:
                raise ViolationError(
                    "balances",
                    f"{owner.hex()[:8]} has {balance} at height {self.height}; tasks and payments"
                    f" explain {expected}",
                )

    def state_of(self, task: bytes) -> TaskState | None:
        """Where a task stands in the book."""
        found = self._tasks.get(task)
        return None if found is None else found.state


class Witness:
    """What honest nodes say and do about tasks, held against what they have said before."""

    def __init__(self) -> None:
        self._ends: dict[tuple[int, bytes], Stage] = {}
        self._given: dict[tuple[int, bytes], bytes] = {}
        self._worked: set[tuple[int, int, bytes]] = set()
        self.marks: Counter[str] = Counter()

    def saw(self, node: WholeNode, effect: Any) -> None:  # noqa: ANN401 - a desk's effects
        """An honest node carries this out; what it wrote before is on its disk."""
        match effect:
            case Work():
                self._work(node, effect)
            case Answer(reply=Finished(signed)):
                self._output(node, effect, signed.receipt.output_hash)
            case Answer(reply=Failed(reason)):
                self._refusal(node, effect, reason)
            case Transact(operation=CompleteTask(signed)):
                self._settlement(node, signed.receipt.task, signed.receipt.output_hash)
            case Transact(operation=FailTask(task)):
                self._end(node, task)
            case _:
                pass

    def _work(self, node: WholeNode, effect: Work) -> None:
        place = (node.number, node.life, bytes(effect.task))
        if place in self._worked:
            raise ViolationError(
                "works once", f"n{node.number} does task {effect.task.hex()[:8]} twice"
            )
        self._worked.add(place)

    def _output(self, node: WholeNode, effect: Answer, output_hash: bytes) -> None:
        known = node.ledger.task(effect.task)
        name = effect.task.hex()[:8]
        if known is None or known.executor != node.own:
            raise ViolationError(
                "claim first", f"n{node.number} gives the output of {name} away before its claim"
            )
        if content_hash(effect.content) != output_hash:
            raise ViolationError("receipts", f"n{node.number} signs for another output of {name}")
        self._once(node, effect.task, output_hash)

    def _settlement(self, node: WholeNode, task: bytes, output_hash: bytes) -> None:
        self._once(node, task, output_hash)

    def _once(self, node: WholeNode, task: bytes, output_hash: bytes) -> None:
        first = self._given.setdefault((node.number, task), output_hash)
        if first != output_hash:
            raise ViolationError(
                "one output", f"n{node.number} signs for two outputs of task {task.hex()[:8]}"
            )

    def _refusal(self, node: WholeNode, effect: Answer, reason: str) -> None:
        """Who has signed for an output and may be paid for it still has it."""
        known = node.ledger.task(effect.task)
        is_paid = known is not None and known.state is TaskState.SETTLED
        if is_paid and known is not None and known.executor == node.own:
            raise ViolationError(
                "durability",
                f"n{node.number} is paid for {effect.task.hex()[:8]} and has no output: {reason}",
            )

    def _end(self, node: WholeNode, task: bytes) -> None:
        """Nobody gives back what it has signed for, while that can still be settled."""
        known = node.ledger.task(task)
        if known is None or known.group is not None or known.executor != node.own:
            return
        if known.submitter != node.own and (node.number, task) in self._given:
            raise ViolationError(
                "durability", f"n{node.number} gives {task.hex()[:8]} back after it sent the output"
            )
        self.marks["claim given back"] += 1

    def countersigns(self, node: WholeNode, effect: Countersign) -> None:
        """An asker is about to sign a receipt: its output must be on its disk, and be what was signed for."""
        record = node.desk.find(effect.task)
        if record is None or record.receipt != effect.reply.signed:
            return
        self._holds(node, record, effect.reply.signed.receipt.output_hash)

    def noted(self, node: WholeNode, record: AskedTask) -> None:
        """A user is told how its task stands."""
        place = (node.number, bytes(record.task))
        told = self._ends.get(place)
        if told is not None and told is not record.stage:
            raise ViolationError(
                "one end",
                f"n{node.number} called {record.task.hex()[:8]} {told.value}, now {record.stage.value}",
            )
        if record.is_open or told is not None:
            return
        self._ends[place] = record.stage
        if record.stage is Stage.SETTLED:
            known = node.ledger.task(record.task)
            paid = None if known is None else known.output_hash
            if known is None or known.state is not TaskState.SETTLED or paid is None:
                raise ViolationError(
                    "shown as settled", f"{record.task.hex()[:8]} is not settled on the ledger"
                )
            self._holds(node, record, paid)

    def _holds(self, node: WholeNode, record: AskedTask, output_hash: bytes) -> None:
        output = node.desk.output(Digest(record.task))
        if output is None or content_hash(output) != output_hash:
            raise ViolationError(
                "shown as settled",
                f"n{node.number} signs for or shows an output of {record.task.hex()[:8]} that is not"
                " the receipt's",
            )

    def restarted(self, node: WholeNode) -> None:
        """A node is back: what it has told its user still holds."""
        for (number, task), stage in self._ends.items():
            if number != node.number:
                continue
            record = node.desk.find(Digest(task))
            if record is None or record.stage is not stage:
                now = "nothing" if record is None else record.stage.value
                raise ViolationError(
                    "durability",
                    f"n{number} called {task.hex()[:8]} {stage.value} and came back with {now}",
                )
