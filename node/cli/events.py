"""`events`: the event log, and what happens as it happens."""

from __future__ import annotations

import json
import sys
from contextlib import suppress

import click

from node.cli.pages import audited, auditing
from node.cli.session import Session, with_session
from node.cli.shapes import moment, short, table
from node.client import Client
from node.errors import NodeError
from node.views.lists import EventsView
from node.views.records import JsonObject

_BLOCKS_BACK = 10


@click.command()
@click.option("--follow", is_flag=True, help="Show what happens as it happens, until Ctrl-C.")
@click.option(
    "--after", metavar="CURSOR", help="Go on behind this place, HEIGHT.INDEX or HEIGHT; 0: all."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--account", metavar="ID", help="With --follow: only what names this account.")
@click.option("--transaction", metavar="HASH", help="With --follow: only this one.")
@click.option("--task", metavar="ID", help="With --follow: only this one.")
@click.option("--count", type=click.IntRange(1), help="With --follow: end after so many.")
@audited
@with_session
def events(
    session: Session,
    *,
    follow: bool,
    after: str | None,
    limit: int,
    account: str | None,
    transaction: str | None,
    task: str | None,
    count: int | None,
    is_audited: bool,
) -> None:
    """Show the event log, from the last ten blocks on if nothing else is said.

    With --follow what happens is shown as it happens: pending, included, finalized; tasks; blocks. What is final has a
    cursor, to go on behind. --json prints one object a line.
    """
    wish = {"account": account, "transaction": transaction, "task": task}
    if not follow and (any(wish.values()) or count is not None):
        raise click.UsageError("--account, --transaction, --task and --count go with --follow")
    if follow and is_audited:
        raise click.UsageError("--audited is for the log; leave out --follow")
    with session.client() as client:
        if follow:
            with suppress(KeyboardInterrupt):
                _follow(session, client, wish, after, count)
            return
        begin = after or str(max(0, client.status().height - _BLOCKS_BACK))
        if is_audited:
            with auditing(session, client) as audit:
                view = audit.event_log(begin, limit).view
        else:
            view = client.event_log(begin, limit)
    session.tell(view, _page_text(view, limit))


def _follow(
    session: Session,
    client: Client,
    wish: dict[str, str | None],
    after: str | None,
    count: int | None,
) -> None:
    """Until there is no more to say. Who is too slow is cut off, and goes on behind the last cursor."""
    left = count
    while True:
        cut = False
        for one in client.events(**wish, after=after):
            after = one.get("cursor") or after
            cut = one["event"] == "cut"
            if cut:
                break
            session.tell(one, _line(one))
            sys.stdout.flush()
            left = None if left is None else left - 1
            if left == 0:
                return
        if not cut:
            on = (
                "" if after is None else f"; go on with: bizra-node events --follow --after {after}"
            )
            raise NodeError(f"the daemon has ended{on}")


def _line(one: JsonObject) -> str:
    cursor = one.get("cursor") or "-"
    match one["event"]:
        case "transaction":
            what = f"transaction {short(one['txHash'])}  {one['status']}"
            why = one.get("reason") or one.get("code")
            return f"{cursor:>12}  {what}" + (f"  ({why})" if why else "")
        case "task":
            return f"{cursor:>12}  task {short(one['taskId'])}  {one['status']}"
        case "block":
            return f"{cursor:>12}  block {one['height']}  {short(one['blockHash'])}"
        case _:
            return f"{cursor:>12}  {json.dumps(one)}"


def _page_text(view: EventsView, limit: int) -> str:
    rows = [
        (
            one.cursor,
            moment(one.timestamp_ms),
            one.kind,
            short(one.correlation),
            one.causation or "-",
        )
        for one in view.events
    ]
    heads = ("CURSOR", "TIME", "KIND", "BELONGS TO", "BECAUSE OF")
    text = table(heads, rows, empty="Nothing has happened behind that place.")
    if len(view.events) < limit:
        return text
    return f"{text}\n\nMore: bizra-node events --after {view.next}"
