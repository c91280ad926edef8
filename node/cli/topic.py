"""`topic`: tell all members something, and listen to what is told."""

from __future__ import annotations

import json
import sys
from contextlib import suppress

import click

from node.cli.session import Session, with_session
from node.cli.shapes import moment, short
from node.errors import NodeError


class PayloadError(NodeError):
    """What is to be published is no JSON object."""


@click.group()
def topic() -> None:
    """Publish events on topics, and watch them with wildcards."""


@topic.command()
@click.argument("name")
@click.argument("payload", default="{}")
@with_session
def publish(session: Session, *, name: str, payload: str) -> None:
    """Tell all members PAYLOAD, a JSON object ("-" reads it from the standard input), on topic NAME."""
    text = sys.stdin.read() if payload == "-" else payload
    try:
        content = json.loads(text)
    except ValueError as error:
        raise PayloadError(f"the payload is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise PayloadError('the payload must be a JSON object such as {"key": "value"}')
    with session.client() as client:
        client.publish(name, content)
    session.tell({"topic": name}, f"Published on {name}.")


@topic.command()
@click.argument("pattern", default="**")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@with_session
def watch(session: Session, *, pattern: str, count: int | None) -> None:
    """Show what is published on topics that fit PATTERN, until Ctrl-C.

    * stands for one word, ** at the end for any rest: state/*/change, plugin/**.
    """
    seen = 0
    with session.client() as client, suppress(KeyboardInterrupt):
        for event in client.watch_topics(pattern):
            if isinstance(event, int):
                session.warn(f"{event} events could not be shown")
                continue
            text = f"{moment(event.sent_ms)}  {short(event.publisher)}  {event.topic}"
            session.tell(event, f"{text}  {json.dumps(event.payload, ensure_ascii=False)}")
            sys.stdout.flush()
            seen += 1
            if seen == count:
                return
