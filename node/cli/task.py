"""`task submit`, `show`, `list`, `cancel`, and the same for groups: `group`, `offer`."""

from __future__ import annotations

from pathlib import Path

import click

from consensus.operations.groups import MAX_REDUNDANCY, MIN_REDUNDANCY
from inference.kinds import BadInput, UnknownKind, parse_input
from memory.documents import DocumentError
from node.cli.ledger_tasks import ledger
from node.cli.results import output_text
from node.cli.session import Session, end_unless, with_session
from node.cli.shapes import pairs, plural, short, table
from node.cli.spread import spread_text
from node.cli.work import Work, read_work
from node.client import FINAL_TASK
from node.errors import NodeError
from node.views.facade import MAX_DEADLINE_S, MIN_DEADLINE_S
from node.views.records import GroupView, JsonObject, TasksView, TaskView


@click.group()
def task() -> None:
    """Hand in work, and see what came of it."""


task.add_command(ledger)


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
@click.option(
    "--redundancy",
    type=click.IntRange(MIN_REDUNDANCY, MAX_REDUNDANCY),
    metavar="N",
    help="How many nodes do the same; those who agree are paid.",
)
@click.option(
    "--agreement",
    type=click.IntRange(MIN_REDUNDANCY, MAX_REDUNDANCY),
    metavar="K",
    help="With --redundancy: how many must agree (default: more than half).",
)
@click.option("--draw", is_flag=True, help="With --redundancy: the ledger draws the executors.")
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
    redundancy: int | None,
    agreement: int | None,
    draw: bool,
    reward: int | None,
    deadline: int | None,
    spread: bool,
    wait: bool,
    timeout: float,
) -> None:
    """Hand in a task of a KIND: embed, rank, summarize, answer."""
    if redundancy is None and (agreement is not None or draw):
        raise click.UsageError("--agreement and --draw go with --redundancy")
    if redundancy is not None and executor is not None:
        raise click.UsageError("--executor names one node; leave it out with --redundancy")
    if redundancy is not None and spread:
        raise click.UsageError("--spread cuts the input, --redundancy repeats it: choose one")
    work = _checked_work(session, kind, source, query, sentences)
    if spread:
        if executor is not None or reward is not None:
            raise click.UsageError("--spread chooses nodes and rewards itself")
        _spread(session, kind, work, deadline, timeout if wait else None)
        return
    if redundancy is not None:
        wishes = {
            "redundancy": redundancy,
            "agreement": agreement,
            "draw": draw,
            "reward": None if reward is None else str(reward),
            "deadline_s": deadline,
        }
        request = {"kind": kind, "input": work.fields, **wishes}
        _submit_group(session, request, timeout if wait else None)
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


def _submit_group(session: Session, request: JsonObject, timeout_s: float | None) -> None:
    given = {name: value for name, value in request.items() if value is not None}
    with session.client() as client:
        view = client.submit_group(given)
        if timeout_s is not None:
            view = client.await_group(view.group_id, timeout_s)
    session.tell(view, _group_text(view))
    end_unless(done=timeout_s is None or view.verdict == "agreed")


@task.command()
@click.argument("name", metavar="ID")
@with_session
def group(session: Session, *, name: str) -> None:
    """Show a group of tasks (`submit --redundancy`), its verdict, and the result that was agreed on."""
    with session.client() as client:
        view = client.group(name)
    session.tell(view, _group_text(view))


@task.command()
@click.argument("kinds", nargs=-1, metavar="KIND..")
@with_session
def offer(session: Session, *, kinds: tuple[str, ...]) -> None:
    """Let the ledger give this node tasks of these KINDs when it draws executors; none takes that back."""
    with session.client() as client:
        view = client.offer_kinds(kinds)
    offered = ", ".join(view.kinds) or "nothing any more"
    session.tell(view, f"The ledger may give this node: {offered} (once {view.tx_hash} is final).")


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
    if view.taken_over_by:
        rows.append(("taken over by", view.taken_over_by))
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
    if view.countersignature:
        rows.append(("countersigned", f"by its asker, {view.countersignature[:16]}.."))
    text = pairs(rows)
    return text if view.output is None else f"{text}\n\n{output_text(view.output)}"


def _group_text(view: GroupView) -> str:
    rows = [("group", view.group_id), ("verdict", view.verdict)]
    if view.agreement:
        how = "equal results" if view.rule == "equal" else "results that the asker found alike"
        rows.append(("wanted", f"{view.agreement} of {len(view.tasks)}, {how}"))
        rows.append(("executors", "drawn by the ledger" if view.drawn else "chosen by the asker"))
    why = next((one.reason for one in view.tasks if one.reason), None)
    if why:
        rows.append(("reason", why))
    text = pairs(rows)
    if view.tasks:
        text += "\n\n" + _list_text(TasksView(tasks=view.tasks))
    agreed = next(
        (one.output for one in view.tasks if one.status == "settled" and one.output), None
    )
    return text if agreed is None else f"{text}\n\n{output_text(agreed)}"


def _list_text(view: TasksView) -> str:
    return table(
        ("TASK", "KIND", "STATUS", "EXECUTOR", "HEIGHT"),
        [
            (short(one.task_id), one.kind, one.status, short(one.executor), str(one.height or "-"))
            for one in view.tasks
        ],
        empty="No tasks yet. Hand one in: bizra-node task submit summarize --input FILE --wait",
    )
