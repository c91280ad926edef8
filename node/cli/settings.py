"""`config show` and `config check`."""

from __future__ import annotations

from dataclasses import asdict, replace

import click

from node.cli.session import Session, with_session
from node.config import load_config, to_toml


@click.group()
def config() -> None:
    """Show or check the settings in config.toml."""


@config.command()
@with_session
def show(session: Session) -> None:
    """Show all settings, defaults included, as config.toml would say them."""
    settings = load_config(session.home.config)
    # Keys of model servers are not for the screen.
    hidden = tuple(
        replace(server, api_key="(hidden)") if server.api_key else server
        for server in settings.backend
    )
    settings = replace(settings, backend=hidden)
    session.tell({**asdict(settings), "api": str(settings.api)}, to_toml(settings).rstrip())


@config.command()
@with_session
def check(session: Session) -> None:
    """Check config.toml; an error names the line and what is allowed."""
    path = session.home.config
    load_config(path)
    is_there = path.exists()
    text = f"{path} is fine." if is_there else f"{path} is not there: the defaults hold."
    session.tell({"file": str(path), "exists": is_there, "valid": True}, text)
