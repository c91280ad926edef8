"""`bizra-node init`: a home before its first run."""

from __future__ import annotations

import time

import click

from node.cli.session import Session, with_session
from node.cli.shapes import pairs
from node.config import ConfigError, load_config, to_toml, with_flags
from node.founding import constants, load_genesis, prepare
from node.founding import found as found_federation
from node.storage.durable import PUBLIC, create_file


@click.command()
@click.option("--name", metavar="NAME", help="What other nodes call this one.")
@click.option("--found", metavar="NAME", help="Found a federation of this name.")
@click.option(
    "--set",
    "wished",
    multiple=True,
    metavar="NAME=VALUE",
    help="With --found: a constant of the federation, such as power=stake; repeatable.",
)
@with_session
def init(session: Session, *, name: str | None, found: str | None, wished: tuple[str, ...]) -> None:
    """Make keys, the owner's token and a settings file; what is there already is kept."""
    if wished and found is None:
        raise click.UsageError("--set is for a new federation: name it with --found NAME")
    parameters, home = constants(wished), session.home
    home.create()
    with home.lock():
        try:
            config = with_flags(load_config(home.config), name=name)
        except ConfigError as error:
            raise click.UsageError(str(error)) from None
        keys = prepare(home)
        if not home.config.exists():
            create_file(home.config, to_toml(config).encode(), PUBLIC)
        if found is not None:
            found_federation(home, keys, found, time.time_ns() // 1_000_000, parameters)
        genesis = load_genesis(home)
    federation = None if genesis is None else genesis.federation_id.hex()
    node_id = keys.identity.node_id.hex()
    rows = [("home", str(home.path)), ("node", node_id), ("settings", str(home.config))]
    if genesis is not None:
        rows.append(("federation", f"{genesis.name} ({federation})"))
    start = f"bizra-node run --home {home.path}"
    if genesis is None:
        start += " [--bootstrap MULTIADDR|INVITE]"
    session.tell(
        {"node_id": node_id, "home": str(home.path), "federation_id": federation},
        f"{pairs(rows)}\n\nStart it with: {start}",
    )
