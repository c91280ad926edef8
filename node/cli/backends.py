"""`backends`: the model servers beside this node, while it runs."""

from __future__ import annotations

import click

from node.cli.session import Session, with_session
from node.cli.shapes import table
from node.views.records import BackendsView, BackendView, JsonObject


@click.group()
def backends() -> None:
    """See, add and remove model servers while the node runs."""


@backends.command("list")
@with_session
def list_backends(session: Session) -> None:
    """Show all model servers, their models, and how they stand."""
    with session.client() as client:
        view = client.backends()
    session.tell(view, _text(view))


@backends.command()
@click.argument("name")
@click.argument("url")
@click.option(
    "--kind", type=click.Choice(["openai", "ollama", "gguf"]), default="openai", show_default=True
)
@click.option("--api-key", envvar="BIZRA_BACKEND_KEY", help="Or in $BIZRA_BACKEND_KEY.")
@click.option("--model", "models", multiple=True, help="Only this model is used; repeatable.")
@click.option("--timeout-s", type=click.IntRange(1), help="For an answer, and each pause in it.")
@with_session
def add(
    session: Session,
    *,
    name: str,
    url: str,
    kind: str,
    api_key: str | None,
    models: tuple[str, ...],
    timeout_s: int | None,
) -> None:
    """Ask the server at URL too, under this NAME; it is kept for the next start.

    With --kind gguf, URL is the path of a file, which llama.cpp serves in a process of its own.
    """
    given = {"api_key": api_key, "models": list(models) or None, "timeout_s": timeout_s}
    row: JsonObject = {"name": name, "url": url, "kind": kind}
    row.update((key, value) for key, value in given.items() if value is not None)
    with session.client() as client:
        view = client.add_backend(row)
    told = f"{view.name} at {view.url} is asked from now on"
    session.tell(view, told if view.up else f"{told}; it is down: {view.fault}")


@backends.command()
@click.argument("name")
@with_session
def remove(session: Session, *, name: str) -> None:
    """Ask the server NAME no more. One that stands in config.toml comes back at the next start."""
    with session.client() as client:
        client.remove_backend(name)
    session.tell({"removed": name}, f"{name} is asked no more")


def _text(view: BackendsView) -> str:
    rows = [
        (one.name, one.kind, one.url or "-", one.origin, _state(one), _models(one))
        for one in view.backends
    ]
    faults = [f"{one.name} is down: {one.fault}" for one in view.backends if not one.up]
    shown = table(("NAME", "KIND", "URL", "FROM", "STATE", "MODELS"), rows, empty="")
    return "\n".join([shown, "", *faults] if faults else [shown])


def _state(one: BackendView) -> str:
    if not one.up:
        return "down"
    return "up" if one.breaker == "closed" else f"breaker {one.breaker}"


def _models(one: BackendView) -> str:
    told = [
        model.id if model.context_tokens is None else f"{model.id} ({model.context_tokens})"
        for model in one.models
    ]
    return ", ".join(told) or "-"
