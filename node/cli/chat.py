"""`chat` and `models`: the node's OpenAI-compatible door, from a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from node.cli.session import Session, with_session
from node.cli.shapes import table
from node.errors import NodeError
from node.gateway.views import JsonObject

_MAX_PROMPT_CHARS = 1_000_000


@click.command()
@click.argument("prompt", required=False)
@click.option("--model", default="auto", show_default=True, help="Which model (see `models`).")
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path),
    help="A file or folder that the question is about.",
)
@click.option("--explain", is_flag=True, help="Tell which servers were considered, and why.")
@click.option(
    "--peers/--no-peers", default=None, help="Whether a peer of the federation may be asked."
)
@with_session
def chat(
    session: Session,
    prompt: str | None,
    model: str,
    source: Path | None,
    *,
    explain: bool,
    peers: bool | None,
) -> None:
    """Ask PROMPT, or what comes on standard input; the answer comes as it is written.

    Without a model server, answers are quotations from what --input names.
    """
    asked = prompt if prompt is not None else sys.stdin.read(_MAX_PROMPT_CHARS)
    if not asked.strip():
        raise click.UsageError("nothing is asked: give a PROMPT, or text on standard input")
    messages = [*_documents(session, source), {"role": "user", "content": asked}]
    parts: list[str] = []
    told: JsonObject = {}
    wishes = {} if peers is None else {"X-Bizra-Peers": str(int(peers))}
    asking = {"model": model, "messages": messages, "stream": True}
    for chunk in _chunks(session, asking, wishes):
        told = {"bizra": chunk["bizra"], "model": chunk["model"]} if "bizra" in chunk else told
        for choice in chunk["choices"]:
            text = choice["delta"].get("content") or ""
            parts.append(text)
            if not session.as_json:
                click.echo(text, nl=False)
    answer = "".join(parts)
    if session.as_json:
        decision = {"decision": told["bizra"]} if explain else {}
        session.tell({"model": told["model"], "answer": answer, **decision}, "")
        return
    click.echo()
    if explain:
        click.echo(f"\n{_explained(told)}", err=True)


@click.command()
@with_session
def models(session: Session) -> None:
    """What models can be asked here, and which server has each."""
    with session.client() as client:
        answer = client.models()
    rows = [(row["id"], row["owned_by"]) for row in answer["data"]]
    session.tell(answer, table(("MODEL", "SERVER"), rows, empty="There is no model."))


def _documents(session: Session, source: Path | None) -> list[JsonObject]:
    if source is None:
        return []
    from memory.documents import DocumentError, read_documents  # noqa: PLC0415 - slow to import

    try:
        reading = read_documents(source)
    except DocumentError as error:
        raise NodeError(str(error)) from None
    for one in reading.left_out:
        session.warn(f"{one.name} is left out: {one.reason}")
    return [
        {"role": "system", "content": f"{document.name}\n\n{document.text}"}
        for document in reading.documents
    ]


def _chunks(session: Session, body: JsonObject, wishes: dict[str, str]) -> Iterator[JsonObject]:
    """The chunks of the answer. Raises `NodeError` for an error, in its middle too."""
    from inference.sse import DONE, SseParser  # noqa: PLC0415 - as above

    events, is_whole = SseParser(), False
    with (
        session.client() as client,
        client.streaming("/v1/chat/completions", body, wishes) as parts,
    ):
        for data in (data for part in parts for data in events.feed(part)):
            if data == DONE:
                is_whole = True
                continue
            with _understood():
                chunk: JsonObject = msgspec.json.decode(data)
            if "error" in chunk:
                raise NodeError(chunk["error"]["message"])
            yield chunk
    if not is_whole:
        raise NodeError("the node ended in the middle of the answer; what came is not whole")


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except msgspec.DecodeError as error:
        raise NodeError(f"what answers is no node of this version ({error})") from None


def _explained(told: JsonObject) -> str:
    rows = [
        (line["server"], line["verdict"], line["reason"]) for line in told["bizra"]["considered"]
    ]
    return f"Model {told['model']}\n" + table(("SERVER", "VERDICT", "WHY"), rows, empty="")
