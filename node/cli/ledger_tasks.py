"""`task ledger`: everybody's tasks, as the ledger has them."""

from __future__ import annotations

import click

from consensus.ledger.records import Task, TaskState
from node.cli.pages import audited, auditing, genesis_of, more, paged, proven
from node.cli.session import Session, with_session
from node.cli.shapes import short, table
from node.client import Client
from node.views.records import JsonObject

_STATES = click.Choice([one.value for one in TaskState])


@click.command()
@click.option("--state", type=_STATES, help="Only these.")
@click.option("--owner", metavar="ID", help="Only what this account asked for.")
@click.option("--executor", metavar="ID", help="Only what this node works or worked on.")
@paged
@proven
@audited
@with_session
def ledger(
    session: Session,
    *,
    state: str | None,
    owner: str | None,
    executor: str | None,
    limit: int,
    after: str | None,
    is_proven: bool,
    is_audited: bool,
) -> None:
    """Show tasks as the ledger has them, the newest first; by one of state, owner and executor."""
    given = {"state": state, "owner": owner, "executor": executor}
    if sum(one is not None for one in given.values()) > 1:
        raise click.UsageError("give one of --state, --owner and --executor")
    again = "task ledger" + "".join(f" --{name} {one}" for name, one in given.items() if one)
    with session.client() as client:
        if is_proven:
            page = client.proven_tasks(
                genesis_of(session),
                state=None if state is None else TaskState(state),
                owner=_whole(client, owner),
                executor=_whole(client, executor),
                limit=limit,
                after=after,
            )
            rows = [_row(name, one) for name, one in page.items]
            told, text = {"tasks": rows, "next": page.next}, _proven_text(rows)
            session.tell(told, more(text, f"{again} --proven", page.next))
            return
        if is_audited:
            with auditing(session, client) as audit:
                view = audit.ledger_tasks(
                    state=None if state is None else TaskState(state),
                    owner=_whole(client, owner),
                    executor=_whole(client, executor),
                    limit=limit,
                    after=after,
                ).view
        else:
            view = client.ledger_tasks(
                state=state, owner=owner, executor=executor, limit=limit, after=after
            )
    lines = [
        (one.task_id, one.kind, one.status, short(one.executor), str(one.height or "-"))
        for one in view.tasks
    ]
    heads = ("TASK", "KIND", "STATUS", "EXECUTOR", "HEIGHT")
    session.tell(view, more(table(heads, lines, empty=_NONE), again, view.next))


_NONE = "The ledger has no such task."


def _whole(client: Client, name: str | None) -> bytes | None:
    """An id that may be cut; what is proven is asked for by the whole one."""
    if name is None:
        return None
    return bytes.fromhex(client.account(name).id)


def _row(name: bytes, one: Task) -> JsonObject:
    return {
        "task_id": name.hex(),
        "kind": one.kind,
        "status": one.state.value,
        "submitter": one.submitter.hex(),
        "executor": None if one.executor is None else one.executor.hex(),
        "reward": str(one.reward),
    }


def _proven_text(rows: list[JsonObject]) -> str:
    lines = [
        (
            one["task_id"],
            one["kind"],
            one["status"],
            short(one["submitter"]),
            short(one["executor"]),
            one["reward"],
        )
        for one in rows
    ]
    heads = ("TASK", "KIND", "STATUS", "OWNER", "EXECUTOR", "REWARD")
    return table(heads, lines, empty=_NONE)
