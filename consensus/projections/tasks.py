"""Tasks as the ledger knows them, newest first: all, by state, by who asked, by who works."""

from __future__ import annotations

from consensus.ledger.event_log import Logged
from consensus.ledger.events import TaskChanged
from consensus.ledger.machine import Ledger
from consensus.ledger.records import Task, TaskState
from consensus.projections.rows import Projection, RowReader, Rows, down, page_of, read, write
from gossip.codec import Bytes32, Name, Natural, Wire
from gossip.json_form import Coins

_TASK, _ALL, _BY_STATE, _BY_OWNER, _BY_EXECUTOR = b"t", b"n", b"s", b"o", b"x"


class TaskRow(Wire, frozen=True):
    """A task after its last change.

    `transaction` and `height` are of that change, or of its submission if the change was before a snapshot.
    """

    kind: Name
    state: TaskState
    submitter: Bytes32
    executor: Bytes32 | None
    reward: Coins
    submit_height: Natural
    transaction: Bytes32
    height: Natural


def _begin(rows: Rows, ledger: Ledger) -> None:
    for name, now in ledger.tasks():
        _put(rows, name, _row(now, now.submit_tx, now.submit_height))


def _apply(rows: Rows, logged: Logged) -> None:
    event = logged.event
    if isinstance(event, TaskChanged):
        _put(rows, event.task_id, _row(event.now, logged.correlation, logged.place.height))


def _row(now: Task, transaction: bytes, height: int) -> TaskRow:
    return TaskRow(
        now.kind,
        now.state,
        now.submitter,
        now.executor,
        now.reward,
        now.submit_height,
        transaction,
        height,
    )


def _put(rows: Rows, name: bytes, row: TaskRow) -> None:
    before = read(rows, _TASK + name, TaskRow)
    for key in () if before is None else _indexes(name, before):
        rows.put(key, None)
    for key in _indexes(name, row):
        rows.put(key, b"")
    write(rows, _TASK + name, row)


def _state(state: TaskState) -> bytes:
    """Padded to an id's length, so that what belongs to a state is invalidated alone."""
    return state.value.encode().ljust(32, b"\x00")


def _indexes(task: bytes, row: TaskRow) -> tuple[bytes, ...]:
    place = down(row.submit_height) + task
    keys = (_ALL + place, _BY_STATE + _state(row.state) + place, _BY_OWNER + row.submitter + place)
    return keys if row.executor is None else (*keys, _BY_EXECUTOR + row.executor + place)


TASKS = Projection("tasks", 1, frozenset({TaskChanged}), _begin, _apply)


def subject(
    state: TaskState | None = None, owner: bytes | None = None, executor: bytes | None = None
) -> bytes:
    """The list to read: of one state, one owner or one executor, or all; the first that is given."""
    if owner is not None:
        return _BY_OWNER + owner
    if executor is not None:
        return _BY_EXECUTOR + executor
    return _ALL if state is None else _BY_STATE + _state(state)


def task(reader: RowReader, task_id: bytes) -> TaskRow | None:
    """A task by its id."""
    return read(reader, _TASK + task_id, TaskRow)


def newest(
    reader: RowReader, listed: bytes, after: bytes | None, limit: int
) -> tuple[list[tuple[bytes, TaskRow]], bytes | None]:
    """A page of one of the lists that `subject` names, and where the next one begins."""
    page = page_of(reader, listed, after, limit)
    found = []
    for key, _ in page.rows:
        name = key[-32:]
        row = task(reader, name)
        assert row is not None
        found.append((name, row))
    return found, page.next_key
