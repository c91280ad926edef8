"""`chat` and `models`: the node's OpenAI-compatible door, from a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from inference.structured import code_blocks
from memory.messages import Document
from node.cli.session import Session, with_session
from node.cli.shapes import table
from node.errors import NodeError
from node.views.records import JsonObject

_MAX_PROMPT_CHARS = 1_000_000
_SHOWN_CHARS = 200
"""Of an answer that is not what was asked for."""


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
@click.option("--system", default="", help="Who the model is to be, and its rules.")
@click.option(
    "--context-tokens",
    type=click.IntRange(128),
    help="What the model reads: documents beyond it are cut or left out.",
)
@click.option(
    "--schema",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A JSON schema that the answer must fit.",
)
@click.option("--code", is_flag=True, help="Print only the code blocks of the answer.")
@with_session
def chat(
    session: Session,
    /,
    prompt: str | None,
    *,
    source: Path | None,
    explain: bool,
    code: bool,
    **wishes: Any,  # noqa: ANN401 - options, each of its own type
) -> None:
    """Ask PROMPT, or what comes on standard input; the answer comes as it is written.

    Without a model server, answers are quotations from what --input names.
    """
    asked = prompt if prompt is not None else sys.stdin.read(_MAX_PROMPT_CHARS)
    if not asked.strip():
        raise click.UsageError("nothing is asked: give a PROMPT, or text on standard input")
    documents = _documents(session, source)
    messages = _messages(session, asked, documents, wishes["system"], wishes["context_tokens"])
    body: JsonObject = {"model": wishes["model"], "messages": messages}
    headers = {} if wishes["peers"] is None else {"X-Bizra-Peers": str(int(wishes["peers"]))}
    if wishes["schema"] is not None:
        body["response_format"] = _form(wishes["schema"])
        answer, told = _whole(session, body, headers)
        if not session.as_json:
            click.echo(answer)
    else:
        shown = not session.as_json and not code
        answer, told = _streamed(session, {**body, "stream": True}, headers, shown=shown)
        if shown:
            click.echo()
    blocks = code_blocks(answer) if code else ()
    if session.as_json:
        more: JsonObject = {"decision": told["bizra"]} if explain else {}
        if code:
            more["code"] = [msgspec.structs.asdict(block) for block in blocks]
        session.tell({"model": told["model"], "answer": answer, **more}, "")
        return
    if code and not blocks:
        raise NodeError(f"the answer has no code block; it says: {answer.strip()[:_SHOWN_CHARS]}")
    for block in blocks:
        click.echo(block.code, nl=False)
    if explain:
        click.echo(f"\n{_explained(told)}", err=True)


def _messages(
    session: Session,
    asked: str,
    documents: Sequence[Document],
    system: str,
    context_tokens: int | None,
) -> list[JsonObject]:
    """The conversation: all of it, or as much as the model reads."""
    if context_tokens is None:
        head = [{"role": "system", "content": system}] if system else []
        shown = [{"role": "system", "content": f"{one.name}\n\n{one.text}"} for one in documents]
        return [*head, *shown, {"role": "user", "content": asked}]
    from inference.failures import ContextOverflow  # noqa: PLC0415 - only where it is asked for
    from inference.prompt import Budget, Piece, build  # noqa: PLC0415 - as above

    budget = Budget(context_tokens=context_tokens, answer_tokens=context_tokens // 4)
    pieces = [Piece(document.text, title=document.name) for document in documents]
    try:
        prompt = build(asked, system=system, pieces=pieces, budget=budget)
    except ContextOverflow as error:
        raise NodeError(str(error)) from None
    for name in prompt.left_out:
        session.warn(f"{name} of the input does not fit and is left out")
    for name in prompt.cut:
        session.warn(f"{name} is cut to what fits")
    return list(prompt.messages)


def _form(path: Path) -> JsonObject:
    try:
        schema = msgspec.json.decode(path.read_bytes(), type=JsonObject)
    except (OSError, msgspec.DecodeError) as error:
        raise NodeError(f"--schema: {path}: {error}") from None
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _whole(session: Session, body: JsonObject, headers: dict[str, str]) -> tuple[str, JsonObject]:
    """A plain answer, and what was told about it."""
    with (
        session.client() as client,
        client.streaming("/v1/chat/completions", body, headers) as parts,
    ):
        content = b"".join(parts)
    with _understood():
        answer: JsonObject = msgspec.json.decode(content)
    return answer["choices"][0]["message"]["content"], answer


def _streamed(
    session: Session, body: JsonObject, headers: dict[str, str], *, shown: bool
) -> tuple[str, JsonObject]:
    """A streamed answer, printed as it comes if it is to be `shown`."""
    parts: list[str] = []
    told: JsonObject = {}
    for chunk in _chunks(session, body, headers):
        told = {"bizra": chunk["bizra"], "model": chunk["model"]} if "bizra" in chunk else told
        for choice in chunk["choices"]:
            text = choice["delta"].get("content") or ""
            parts.append(text)
            if shown:
                click.echo(text, nl=False)
    return "".join(parts), told


@click.command()
@with_session
def models(session: Session) -> None:
    """What models can be asked here, and which server has each."""
    with session.client() as client:
        answer = client.models()
    rows = [(row["id"], row["owned_by"]) for row in answer["data"]]
    session.tell(answer, table(("MODEL", "SERVER"), rows, empty="There is no model."))


def _documents(session: Session, source: Path | None) -> Sequence[Document]:
    if source is None:
        return ()
    from memory.documents import DocumentError, read_documents  # noqa: PLC0415 - slow to import

    try:
        reading = read_documents(source)
    except DocumentError as error:
        raise NodeError(str(error)) from None
    for one in reading.left_out:
        session.warn(f"{one.name} is left out: {one.reason}")
    return reading.documents


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
    answered = f"Model {told['model']}, answered by {told['bizra']['server']}"
    return f"{answered}\n" + table(("SERVER", "VERDICT", "WHY"), rows, empty="")
