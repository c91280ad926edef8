"""`bizra-node run`: the daemon in this terminal."""

from __future__ import annotations

import click

from node.cli.session import Session, with_session
from node.config import ConfigError, RunOptions, load_config, with_flags


@click.command()
@click.option("--listen", multiple=True, metavar="MULTIADDR", help="Where peers reach this node.")
@click.option(
    "--bootstrap", multiple=True, metavar="MULTIADDR|INVITE", help="A node to join by; repeatable."
)
@click.option("--api", metavar="HOST:PORT", help="Where the HTTP interface listens.")
@click.option("--no-mdns", is_flag=True, help="Do not look for nodes on the local network.")
@click.option("--name", metavar="NAME", help="What other nodes call this one.")
@click.option("--found", metavar="NAME", help="Found a federation of this name, in a new home.")
@with_session
def run(
    session: Session,
    *,
    listen: tuple[str, ...],
    bootstrap: tuple[str, ...],
    api: str | None,
    no_mdns: bool,
    name: str | None,
    found: str | None,
) -> None:
    """Run the node until Ctrl-C.

    In an empty home it makes an identity, and founds a federation of one unless --bootstrap names a
    node to join.
    """
    if found is not None and bootstrap:
        raise click.UsageError("--found begins a federation, --bootstrap joins one: choose")
    config = load_config(session.home.config)
    try:
        config = with_flags(
            config,
            listen=listen,
            bootstrap=bootstrap,
            api=api,
            mdns=False if no_mdns else None,
            name=name,
        )
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    from node.daemon import run as run_daemon  # noqa: PLC0415 - slow; mistakes are told before

    run_daemon(RunOptions(session.home, config, found))
