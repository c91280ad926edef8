"""`token`: what other programs may do in this node's name."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from node.cli.session import Session, with_session
from node.cli.shapes import table
from node.views.tokens import TokensView


@click.group()
def token() -> None:
    """Tokens for other programs, each with what it may do and how often it may ask."""


@token.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["pay", "tasks", "contents", "operate"]),
    help="What it may do, repeatable; without any it may only read.",
)
@click.option(
    "--quota", type=click.IntRange(1, 1_000_000), help="Requests a second; else as everybody's."
)
@with_session
def create(session: Session, *, name: str, scopes: tuple[str, ...], quota: int | None) -> None:
    """Make a token called NAME and show it, this once: the node keeps only its hash."""
    with session.client() as client:
        made = client.create_token(name, scopes, quota)
    session.tell(made, made.token)
    if not session.as_json:
        session.warn("it is shown only now; send it as `Authorization: Bearer TOKEN`")


@token.command("list")
@with_session
def list_tokens(session: Session) -> None:
    """Show all tokens but the owner's own, which is in the file `token` of the home."""
    with session.client() as client:
        view = client.tokens()
    session.tell(view, _text(view))


@token.command()
@click.argument("name")
@with_session
def revoke(session: Session, *, name: str) -> None:
    """Make the token NAME worth nothing, at once."""
    with session.client() as client:
        client.revoke_token(name)
    session.tell({"revoked": name}, f"{name} is worth nothing from now on")


def _text(view: TokensView) -> str:
    rows = [
        (
            one.name,
            ", ".join(one.scopes) or "read only",
            "-" if one.quota_per_s is None else f"{one.quota_per_s}/s",
            datetime.fromtimestamp(one.created_at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
        for one in view.tokens
    ]
    return table(("NAME", "MAY", "QUOTA", "MADE"), rows, empty="no tokens but the owner's")
