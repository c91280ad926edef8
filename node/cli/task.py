"""`task submit`, `show`, `list`, `cancel`."""

from __future__ import annotations

from pathlib import Path

import click

from inference.kinds import BadInput, UnknownKind, parse_input
from memory.documents import DocumentError
from node.cli.results import output_text
from node.cli.session import Session, end_unless, with_session
from node.cli.shapes import pairs, plural, short, table
from node.cli.spread import spread_text
from node.cli.work import Work, read_work
from node.client import FINAL_TASK
from node.errors import NodeError
from node.gateway.facade import MAX_DEADLINE_S, MIN_DEADLINE_S
from node.gateway.views import TasksView, TaskView


@click.group()
def task() -> None:
    """Hand in work, and see what came of it."""


@task.command()
@click.argument("kind")
@click.option(
    "--input", "source", metavar="FILE|DIR|-", help="What to work on; - is standard input."
)
@click.option(
    "--query", metavar="TEXT", help="For rank and answer: the question. For embed: a text."
)
@click.option("--sentences", type=click.IntRange(1), metavar="N", help="For summarize: how many.")
@click.option("--executor", metavar="ID", help="The only node that may do it.")
@click.option("--reward", type=click.IntRange(1, 2**63 - 1), help="What it pays.")
@click.option(
    "--deadline",
    type=click.IntRange(MIN_DEADLINE_S, MAX_DEADLINE_S),
    metavar="SECONDS",
    help="When to take the reward back from an executor that never finished (default: 120).",
)
@click.option(
    "--spread", is_flag=True, help="In parts over many peers; a lost peer's go to others."
)
@click.option("--wait", is_flag=True, help="Wait for the result.")
@click.option(
    "--timeout", type=click.FloatRange(0.1), default=300, show_default=True, help="Seconds to wait."
)
@with_session
def submit(
    session: Session,
    *,
    kind: str,
    source: str | None,
    query: str | None,
    sentences: int | None,
    executor: str | None,
    reward: int | None,
    deadline: int | None,
    spread: bool,
    wait: bool,
    timeout: float,
) -> None:
    """Hand in a task of a KIND: embed, rank, summarize, answer."""
    work = _checked_work(session, kind, source, query, sentences)
    if spread:
        if executor is not None or reward is not None:
            raise click.UsageError("--spread chooses nodes and rewards itself")
        _spread(session, kind, work, deadline, timeout if wait else None)
        return
    with session.client() as client:
        view = client.submit_task(kind, work.fields, executor, reward, deadline)
        if wait and view.status not in FINAL_TASK:
            view = client.await_task(view.task_id, timeout)
    session.tell(view, _text(view))
    end_unless(done=view.status == "settled" or (not wait and view.status not in FINAL_TASK))


def _spread(
    session: Session, kind: str, work: Work, deadline: int | None, wait_s: float | None
) -> None:
    with session.client() as client:
        view = client.submit_spread(kind, work.fields, deadline)
        if wait_s is not None:
            view = client.await_spread(view.id, wait_s)
    session.tell(view, spread_text(view))
    end_unless(done=view.status == "done" or (wait_s is None and view.status == "running"))


def _checked_work(
    session: Session, kind: str, source: str | None, query: str | None, sentences: int | None
) -> Work:
    """The task's input, checked here so that mistakes are told before anything is sent."""
    try:
        work = read_work(kind, None if source is None else Path(source), query, sentences)
        parse_input(kind, work.fields)
    except UnknownKind as error:
        raise click.UsageError(str(error)) from None
    except (BadInput, DocumentError) as error:
        raise NodeError(str(error)) from None
    for name, reason in work.left_out:
        session.warn(f"{name} is left out: {reason}")
    return work


@task.command()
@click.argument("name", metavar="ID")
@with_session
def show(session: Session, *, name: str) -> None:
    """Show a task, with its result if this node asked for it."""
    with session.client() as client:
        view = client.task(name)
    session.tell(view, _text(view))


@task.command("list")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@with_session
def list_tasks(session: Session, *, limit: int) -> None:
    """Show the newest tasks."""
    with session.client() as client:
        view = client.tasks(limit)
    session.tell(view, _list_text(view))


@task.command()
@click.argument("name", metavar="ID")
@with_session
def cancel(session: Session, *, name: str) -> None:
    """Take back a task of this node that nobody works on; its reward returns."""
    with session.client() as client:
        view = client.cancel_task(name)
    session.tell(view, _text(view))


def _text(view: TaskView) -> str:
    rows = [("task", view.task_id), ("kind", view.kind), ("status", view.status)]
    if view.reason:
        rows.append(("reason", view.reason))
    if view.executor:
        rows.append(("executor", view.executor))
    if view.place:
        rows.append(("chosen", view.place))
    if view.usage is not None:
        used = view.usage
        counts = f"{plural(used.items, 'item')}, {plural(used.tokens, 'token')}"
        rows.append(("usage", f"{counts}, {used.duration_ms} ms"))
    if view.tx_hash:
        rows.append(("transaction", f"{view.tx_hash} at height {view.height or '-'}"))
    text = pairs(rows)
    return text if view.output is None else f"{text}\n\n{output_text(view.output)}"


def _list_text(view: TasksView) -> str:
    return table(
        ("TASK", "KIND", "STATUS", "EXECUTOR", "HEIGHT"),
        [
            (short(one.task_id), one.kind, one.status, short(one.executor), str(one.height or "-"))
            for one in view.tasks
        ],
        empty="No tasks yet. Hand one in: bizra-node task submit summarize --input FILE --wait",
    )
