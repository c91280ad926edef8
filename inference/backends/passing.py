"""Chunks to the events that callers read, for streams that are not written as such already."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from inference.backends.servers import Take
from inference.chat import JsonObject
from inference.sse import event


def chunk_event(chunk: JsonObject) -> bytes:
    """A chunk as an event of OpenAI's protocol."""
    return event(msgspec.json.encode(chunk))


async def pass_chunks(
    receive: Callable[[], Awaitable[JsonObject | None]], take: Take
) -> bytes | None:
    """`TokenStream.pass_on` in terms of `receive`."""
    while (chunk := await receive()) is not None:
        if not take(chunk_event(chunk)):
            return None
    return b""
