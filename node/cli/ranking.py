"""`leaderboard`, `reputation`, `fairness`: who works, how well, and how evenly it is paid."""

from __future__ import annotations

import click

from node.cli.pages import audited, auditing, genesis_of, more, paged, proven
from node.cli.session import Session, with_session
from node.cli.shapes import pairs, short, table
from node.views.lists import ReputationView


@click.command()
@paged
@audited
@with_session
def leaderboard(session: Session, *, limit: int, after: str | None, is_audited: bool) -> None:
    """Show who earned the most by tasks."""
    with session.client() as client:
        if is_audited:
            with auditing(session, client) as audit:
                view = audit.leaderboard(limit, after).view
        else:
            view = client.leaderboard(limit, after)
    rows = [(short(one.id), one.name or "-", one.earned, str(one.tasks)) for one in view.leaders]
    text = table(("NODE", "NAME", "EARNED", "TASKS"), rows, empty="Nobody has earned anything yet.")
    session.tell(view, more(text, "leaderboard", view.next))


@click.command()
@click.argument("node", metavar="[ID]", required=False)
@paged
@proven
@audited
@with_session
def reputation(
    session: Session,
    *,
    node: str | None,
    limit: int,
    after: str | None,
    is_proven: bool,
    is_audited: bool,
) -> None:
    """Show how reliably nodes end what they claim, the best first; with ID one node's."""
    if node is not None and is_proven:
        raise click.UsageError("--proven is for the list; leave out the ID")
    with session.client() as client:
        if node is not None:
            one = client.reputation(node)
            if is_audited:
                with auditing(session, client) as audit:
                    one = audit.reputation(bytes.fromhex(one.id)).view
            session.tell(one, pairs(_facts(one)))
            return
        if is_proven:
            page = client.proven_reputations(genesis_of(session), limit, after)
            scores = [(name.hex(), str(found.score)) for name, found in page.items]
            told = {
                "nodes": [{"id": name, "score": int(score)} for name, score in scores],
                "next": page.next,
            }
            text = table(("NODE", "SCORE"), scores, empty=_NOBODY)
            session.tell(told, more(text, "reputation --proven", page.next))
            return
        if is_audited:
            with auditing(session, client) as audit:
                view = audit.reputations(limit, after).view
        else:
            view = client.reputations(limit, after)
    rows = [
        (short(one.id), one.name or "-", str(one.score), str(one.settled), str(one.failed))
        for one in view.nodes
    ]
    text = table(("NODE", "NAME", "SCORE", "SETTLED", "FAILED"), rows, empty=_NOBODY)
    session.tell(view, more(text, "reputation", view.next))


_NOBODY = "Nobody has ended a task yet."


def _facts(one: ReputationView) -> list[tuple[str, str]]:
    return [
        ("node", one.id),
        ("name", one.name or "-"),
        ("score", f"{one.score} of 1000"),
        ("settled", str(one.settled)),
        ("failed", str(one.failed)),
    ]


@click.command()
@audited
@with_session
def fairness(session: Session, *, is_audited: bool) -> None:
    """Show how evenly rewards fall on the members: 0 all the same, near 1 all to one."""
    with session.client() as client:
        if is_audited:
            with auditing(session, client) as audit:
                view = audit.fairness().view
        else:
            view = client.fairness()
    gini = "- (no reward yet)" if view.gini is None else f"{view.gini:.3f}"
    session.tell(
        view, pairs([("gini", gini), ("members", str(view.members)), ("paid", view.total)])
    )
