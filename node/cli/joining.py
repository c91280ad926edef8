"""`invite`, `admit` and `expel`: how others get in, and out."""

from __future__ import annotations

from io import StringIO

import click

from node.cli.session import Session, end_unless, with_session
from node.cli.shapes import moment, short

_HOUR_MS = 60 * 60 * 1000
_MAX_HOURS = 30 * 24


@click.command()
@click.option(
    "--hours",
    type=click.IntRange(1, _MAX_HOURS),
    default=24,
    show_default=True,
    help="How long it holds.",
)
@click.option("--qr", is_flag=True, help="Draw it as a QR code too.")
@with_session
def invite(session: Session, *, hours: int, qr: bool) -> None:
    """Make an invite: it lets one node in as an observer, once."""
    with session.client() as client:
        view = client.invite(hours * _HOUR_MS)
    text = (
        f"For one node, until {moment(view.expires_at_ms)}. On the other machine, type:\n\n"
        f"bizra-node run --bootstrap {view.invite}"
    )
    if qr and not session.as_json:
        text = f"{text}\n\n{qr_code(view.invite)}"
    session.tell(view, text)


def qr_code(text: str) -> str:
    """A QR code in half blocks, light on dark; a sentence if the text is too long for one."""
    import segno  # noqa: PLC0415 - rarely needed

    try:
        code = segno.make_qr(text, error="l")
    except segno.DataOverflowError:
        return f"The invite has {len(text)} characters: too many for a QR code."
    drawn = StringIO()
    code.terminal(drawn, compact=True)
    return drawn.getvalue().rstrip("\n")


@click.command()
@click.argument("node", metavar="ID")
@click.option("--validator", is_flag=True, help="Speak for it as a validator.")
@with_session
def admit(session: Session, *, node: str, validator: bool) -> None:
    """Let a node in as an observer, or speak for it as a validator.

    ID may be its first digits; `bizra-node peers --applicants` shows who asks.
    """
    with session.client() as client:
        view = client.admit(node, validator=validator)
    reason = f": {view.reason}" if view.reason else ""
    text = (
        f"{short(view.node_id)} as {view.role}: {view.status}{reason}\n"
        f"See what becomes of it: bizra-node tx show {short(view.tx_hash)}"
    )
    session.tell(view, text)
    end_unless(done=view.status not in ("failed", "rejected", "expired"))


@click.command()
@click.argument("node", metavar="ID")
@with_session
def expel(session: Session, *, node: str) -> None:
    """Say this validator's word against the membership of ID; more than two thirds of the power end it.

    ID is that of an observer: a validator loses its seat first, by `bizra-node validators remove`.
    """
    with session.client() as client:
        view = client.expel(node)
    text = (
        f"Said against {short(node)}: {view.status}\n"
        f"Who is a member: bizra-node peers; this word: bizra-node tx show {short(view.tx_hash)}"
    )
    session.tell(view, text)
