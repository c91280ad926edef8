"""`audit`: execute a node's whole chain again, from the genesis, and hold all that it says of it against that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from node.cli.pages import auditing, genesis_of, trusted
from node.cli.session import Session, with_session
from node.cli.shapes import pairs, plural, short, table
from node.errors import NodeError

if TYPE_CHECKING:
    from node.client import Client


class InterruptedAuditError(NodeError):
    """Ctrl-C; what was checked is kept."""

    code = "interrupted"
    exit_code = 130


@click.command()
@click.option("--url", help="A node's HTTP interface (default: that of the daemon in the home).")
@click.option(
    "--genesis", type=click.Path(path_type=Path), help="The genesis file (default: the home's own)."
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the audit keeps its copy of the chain (default: `audit` in the home).",
)
@trusted
@click.option("--all", "whole", is_flag=True, help="Every list to its end, not its first page.")
@with_session
def audit(
    session: Session,
    *,
    url: str | None,
    genesis: Path | None,
    directory: Path | None,
    trust: str | None,
    whole: bool,
) -> None:
    """Believe a node nothing: check its blocks and execute them, and compare its lists with what comes of it.

    Blocks are checked against the genesis: who decided them, that their transactions are signed, that they come to the
    certified state. The copy is kept, so that the next audit costs the new blocks alone; Ctrl-C loses nothing.
    """
    federation = genesis_of(session, genesis)
    if directory is None and not session.home.identity_key.is_file():
        raise click.UsageError(
            f"{session.home.path} is no node's home; say where to keep the copy: --directory DIR"
        )
    with _client(session, url) as client:
        try:
            with auditing(session, client, federation, directory, trust) as one:
                begun = one.height
                one.catch_up()
                compared = one.everything(whole=whole)
                blocks = one.height - begun
                told = {
                    "federation_id": federation.federation_id.hex(),
                    "height": one.height,
                    "epoch": one.epoch,
                    "state_root": one.state_root.hex(),
                    "blocks": blocks,
                    "lists": [
                        {"name": each.name, "items": each.items, "height": each.height}
                        for each in compared
                    ],
                }
        except KeyboardInterrupt:
            raise InterruptedAuditError(
                "interrupted; what was checked is kept, the same command goes on from there"
            ) from None
    facts = pairs(
        [
            ("federation", f"{federation.name} ({short(federation.federation_id.hex())})"),
            (
                "audited",
                f"up to block {told['height']}, {plural(blocks, 'block')} of them now",
            ),
            ("epoch", str(told["epoch"])),
            ("state root", str(told["state_root"])),
        ]
    )
    rows = [
        (each.name, str(each.items), str(each.height), "as the chain says") for each in compared
    ]
    lists = table(("LIST", "COMPARED", "HEIGHT", "THE NODE'S ANSWER IS"), rows, empty="")
    session.tell(told, f"{facts}\n\n{lists}")


def _client(session: Session, url: str | None) -> Client:
    if url is None:
        return session.client()
    from node.client import Client  # noqa: PLC0415 - as in `Session.client`

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise click.BadParameter("expected such as http://127.0.0.1:7440", param_hint="--url")
    return Client(url.rstrip("/"))
