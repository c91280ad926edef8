"""What is due for a member of a group of tasks: both sides of the desk ask here, and the ledger has the last word.

An executor fixes its result, waits until no other can copy it, then opens it (`consensus/ledger/task_groups.py`). Where
equal hashes decide, its output goes to the asker only once it is paid: an asker that made a group fail would
otherwise have the work for nothing. So its asker can sign for such a result only after the pay: the receipt alone,
without the output, is worth nobody's word. Where the asker compares, the output goes to it as soon as nobody can copy
it, and the result is opened with the asker's signature under its receipt, or without after two seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from consensus.ledger.machine import Ledger
from consensus.ledger.records import Task, TaskGroup, TaskState
from consensus.operations.groups import AgreementRule
from gossip.codec import Digest

_AT_WORK = (TaskState.QUEUED, TaskState.ASSIGNED)


@dataclass(frozen=True, slots=True)
class GroupView:
    """What the desk may ask of the ledger about groups; `reveal_ms` is the time to open a result."""

    task: Callable[[bytes], Task | None]
    group: Callable[[bytes], TaskGroup | None]
    reveal_ms: Callable[[], int]

    @classmethod
    def of(cls, ledger: Ledger) -> GroupView:
        """The view of a ledger, which stays the same object while it grows."""
        return cls(ledger.task, ledger.group, lambda: ledger.parameters.reveal_ms)

    def members(self, task: Task) -> Iterator[tuple[Digest, Task]]:
        """All tasks of the group that a task belongs to, itself included; nothing for one that is alone."""
        whole = None if task.group is None else self.group(task.group)
        for name in () if whole is None else whole.tasks:
            member = self.task(name)
            if member is not None:
                yield Digest(name), member

    def may_open(self, now_ms: int, task: Task) -> bool:
        """Whether nobody of the group can fix a result any more."""
        return now_ms >= task.deadline_ms or all(
            member.state not in _AT_WORK for _, member in self.members(task)
        )

    def is_compared(self, task: Task) -> bool:
        """Whether the asker reads the results and says which are alike."""
        whole = None if task.group is None else self.group(task.group)
        return whole is not None and whole.rule is AgreementRule.ATTESTED

    def holds_output_back(self, task: Task) -> bool:
        """Whether the executor of a group's task keeps its output to itself for now."""
        if task.group is None or task.state is TaskState.SETTLED:
            return False
        return not (task.state is TaskState.REVEALED and self.is_compared(task))

    def overdue(self, now_ms: int, task: Task) -> Iterator[Digest]:
        """The members that hold up the others of a task's group, and whose time is over."""
        for name, member in self.members(task):
            if member.is_open and now_ms >= self.due_ms(member):
                yield name

    def due_ms(self, task: Task) -> int:
        """When a member may be ended by others as it stands now."""
        if task.group is None or task.state in _AT_WORK:
            return task.deadline_ms
        if task.state is TaskState.COMMITTED:
            return task.deadline_ms + self.reveal_ms()
        return task.deadline_ms + 2 * self.reveal_ms()
