"""`queue` and `trust`: requests that wait for a model, and what peers' answers turned out to be."""

from __future__ import annotations

import json

import click

from node.cli.session import Session, end_unless, with_session
from node.cli.shapes import moment, pairs, short, table
from node.views.records import QueuedView, QueueView, TrustView


@click.group()
def queue() -> None:
    """Requests that wait for a model to be there."""


@queue.command("list")
@with_session
def list_queue(session: Session) -> None:
    """Show what is under way, waits in its order, and has ended."""
    with session.client() as client:
        view = client.queue()
    rows = [
        (
            short(one.id),
            one.model,
            one.status,
            str(one.position or "-"),
            str(one.priority),
            moment(one.deadline_ms),
        )
        for one in view.requests
    ]
    head = ("REQUEST", "MODEL", "STATUS", "POSITION", "PRIORITY", "DEADLINE")
    session.tell(view, table(head, rows, empty="Nothing waits."))


@queue.command()
@click.argument("name", metavar="ID")
@with_session
def show(session: Session, *, name: str) -> None:
    """Show one request, with its answer."""
    with session.client() as client:
        view = client.queued(name)
    session.tell(view, _text(view))


@queue.command()
@click.argument("name", metavar="ID")
@with_session
def cancel(session: Session, *, name: str) -> None:
    """Take a request out of the queue."""
    with session.client() as client:
        view = client.withdraw(name)
    session.tell(view, _text(view))


@queue.command()
@with_session
def inbox(session: Session) -> None:
    """Show what all servers failed at: retry it, answer it, or cancel it."""
    with session.client() as client:
        view = client.queue()
    mine = [one for one in view.requests if one.status == "escalated"]
    rows = [(short(one.id), one.model, str(one.tries), one.reason or "") for one in mine]
    head = ("REQUEST", "MODEL", "TRIES", "REASON")
    told = QueueView(requests=tuple(mine))
    session.tell(told, table(head, rows, empty="Nothing waits for a person."))


@queue.command()
@click.argument("name", metavar="ID")
@with_session
def retry(session: Session, *, name: str) -> None:
    """Have an escalated request tried again."""
    with session.client() as client:
        view = client.decide(name, "retry")
    session.tell(view, _text(view))


@queue.command()
@click.argument("name", metavar="ID")
@click.argument("text")
@with_session
def answer(session: Session, *, name: str, text: str) -> None:
    """Answer an escalated request with TEXT."""
    with session.client() as client:
        view = client.decide(name, "answer", text)
    session.tell(view, _text(view))


def _text(view: QueuedView) -> str:
    rows = [("request", view.id), ("model", view.model), ("status", view.status)]
    if view.position is not None:
        rows.append(("position", str(view.position)))
        rows.append(("priority", str(view.priority)))
        rows.append(("deadline", moment(view.deadline_ms)))
    if view.server:
        rows.append(("server", view.server))
    if view.reason:
        rows.append(("reason", view.reason))
    text = pairs(rows)
    if view.answer is None:
        return text
    choices = view.answer.get("choices") or [{}]
    said = (choices[0].get("message") or choices[0]).get("content") or choices[0].get("text")
    return f"{text}\n\n{said or json.dumps(view.answer)[:2000]}"


@click.group()
def trust() -> None:
    """What peers' answers turned out to be when they were looked at again."""


@trust.command("list")
@with_session
def list_trust(session: Session) -> None:
    """Show the verdicts about each peer."""
    with session.client() as client:
        view = client.trust()
    rows = [
        (
            short(one.node_id),
            f"{one.trust / 1000:g}",
            f"{one.matches}/{one.mismatches}/{one.inconclusive}",
            "yes" if one.asked else "no",
            one.reason or "",
        )
        for one in view.peers
    ]
    head = ("NODE", "TRUST", "SAME/OTHER/OPEN", "ASKED", "LAST MISMATCH")
    session.tell(view, table(head, rows, empty="No answer of a peer was looked at yet."))


@trust.command()
@click.argument("node")
@click.option("--model", required=True, help="A model that the peer offers and a server here has.")
@with_session
def check(session: Session, *, node: str, model: str) -> None:
    """Ask NODE something now, and compare its answer with the same file's here."""
    with session.client() as client:
        found = client.check_peer(node, model)
    session.tell(found, f"{found['finding']}: {found['reason']}")
    end_unless(done=found["finding"] != "mismatch")


@trust.command()
@click.argument("node")
@with_session
def forget(session: Session, *, node: str) -> None:
    """Begin anew with NODE."""
    with session.client() as client:
        view: TrustView = client.forgive(node)
    session.tell(view, f"Nothing is held against {short(view.node_id)} any more.")
