"""`transfer`: contents of any size between nodes, named by their hash."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from node.cli.session import Session, with_session
from node.cli.shapes import short, table
from node.errors import NodeError
from node.views.records import ContentsView, FetchView

_PIECE_BYTES = 1024 * 1024


class FileError(NodeError):
    """A file can't be read or written; the text names it."""


class NotFetchedError(NodeError):
    """A content could not be had."""

    code = "not_fetched"


@click.group()
def transfer() -> None:
    """Hand files of any size to other nodes.

    `add` on one node prints the content's id; `get ID` on another one fetches it from all members that have it.
    """


@transfer.command()
@click.argument("file", type=click.Path(path_type=Path))
@with_session
def add(session: Session, *, file: Path) -> None:
    """Put FILE into this node's store ("-" is the standard input)."""
    with session.client() as client:
        view = client.add_content(pieces_of(file))
    session.tell(
        view, f"{view.size_bytes} bytes\nOn another node: bizra-node transfer get {view.content_id}"
    )


@transfer.command("list")
@with_session
def list_contents(session: Session) -> None:
    """Show what is in this node's store."""
    with session.client() as client:
        view = client.contents()
    session.tell(view, _contents_text(view))


@transfer.command()
@click.argument("content_id")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where to write it.")
@click.option("--from", "source", metavar="NODE", help="The one member to ask (default: all).")
@click.option("--keep", is_flag=True, help="Never remove it to make room for others.")
@with_session
def get(
    session: Session, *, content_id: str, output: Path | None, source: str | None, keep: bool
) -> None:
    """Fetch a content from the members that have it; a fetch that was cut off goes on where it was."""
    last: FetchView | None = None
    with session.client() as client:
        for last in client.fetch_content(content_id, source, keep=keep):
            if not session.as_json and last.size_bytes and not last.done:
                click.echo(f"{last.present_bytes} of {last.size_bytes} bytes", err=True)
        if last is None or not last.done:
            raise NotFetchedError((last and last.reason) or "the node ended before the fetch did")
        if output is not None:
            write_whole(output, client.read_content(content_id))
    told = ", ".join(f"{short(node)} {size}" for node, size in sorted(last.sources.items()))
    where = f", written to {output}" if output else ""
    session.tell(
        last, f"{last.size_bytes} bytes are here{where}\nfrom {told or 'nobody: it was here'}"
    )


@transfer.command()
@click.argument("content_id")
@with_session
def remove(session: Session, *, content_id: str) -> None:
    """Forget a content here; what other nodes have stays."""
    with session.client() as client:
        view = client.remove_content(content_id)
    session.tell(view, f"Removed {short(view.content_id)}.")


def _contents_text(view: ContentsView) -> str:
    rows = [
        (
            one.content_id,
            str(one.size_bytes),
            "all" if one.present_bytes == one.size_bytes else str(one.present_bytes),
            "kept" if one.kept else "",
        )
        for one in view.contents
    ]
    text = table(("CONTENT", "BYTES", "HERE", ""), rows, empty="Nothing is here yet.")
    return f"{text}\n\n{view.used_bytes} of {view.max_bytes} bytes used"


def pieces_of(file: Path) -> Iterator[bytes]:
    """What is in a file, a piece at a time. Raises `FileError`."""
    try:
        with click.open_file(str(file), "rb") as opened:
            while piece := opened.read(_PIECE_BYTES):
                yield piece
    except OSError as error:
        raise FileError(f"{file} can't be read ({error.strerror})") from None


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """A file, whole or not at all. Raises `FileError`."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _fill(aside, pieces)
        aside.replace(path)
    except OSError as error:
        raise FileError(f"{path} can't be written ({error.strerror})") from None
    finally:
        aside.unlink(missing_ok=True)


def _fill(path: Path, pieces: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
