"""Many callers of one door, each with a connection of its own that it keeps; as thin as a client can be."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import msgspec
import trio

from node.errors import NodeError

API_KEY: Final = f"sk-{secrets.token_hex(32)}"
"""Shown to every door; LiteLLM does not start without one."""
_READ_BYTES: Final = 65_536
_HEAD_END: Final = b"\r\n\r\n"
_PATIENCE_S: Final = 60.0
_STREAM_END: Final = (b"data: [DONE]", b"0\r\n\r\n")


class DoorError(NodeError):
    """A door did not answer a benchmark's request as it must; the text shows what came."""


@dataclass(slots=True)
class Timed:
    """What the callers saw."""

    requests: int = 0
    latencies_s: list[float] = field(default_factory=list)

    def percentile_ms(self, share: float) -> float:
        """The nearest-rank percentile of the latencies."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def request_bytes(url: str, model: str, *, stream: bool) -> bytes:
    """A chat request as it goes over the wire."""
    body = msgspec.json.encode(
        {
            "model": model,
            "messages": [{"role": "user", "content": "Say twenty words."}],
            "stream": stream,
        }
    )
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {API_KEY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def ask(url: str, model: str, *, stream: bool, callers: int, seconds: float) -> Timed:
    """Each caller asks again as soon as it is answered, for so long. Raises `DoorError`."""
    timed = Timed()
    request = request_bytes(url, model, stream=stream)
    ends = time.perf_counter() + seconds
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(callers):
                nursery.start_soon(_caller, url, request, ends, timed, stream)
    except* DoorError as group:
        raise group.exceptions[0] from None
    return timed


async def _caller(url: str, request: bytes, ends: float, timed: Timed, stream: bool) -> None:  # noqa: FBT001 - trio passes by place
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    connection = await trio.open_tcp_stream(parts.hostname, parts.port)
    async with connection:
        while (began := time.perf_counter()) < ends:
            with trio.move_on_after(_PATIENCE_S) as scope:
                await connection.send_all(request)
                await (_read_stream(connection) if stream else _read_whole(connection))
            if scope.cancelled_caught:
                raise DoorError(f"{url} did not answer within {_PATIENCE_S:g} s")
            timed.latencies_s.append(time.perf_counter() - began)
            timed.requests += 1


async def _read_whole(connection: trio.SocketStream) -> None:
    received = bytearray()
    while (end := received.find(_HEAD_END)) < 0:
        await _more(connection, received)
    head = bytes(received[:end]).lower()
    _check_status(head, received)
    size = _number_after(head, b"content-length:")
    while len(received) < end + len(_HEAD_END) + size:
        await _more(connection, received)


async def _read_stream(connection: trio.SocketStream) -> None:
    """Until HTTP's last chunk. Raises `DoorError` unless OpenAI's own end came before it."""
    received = bytearray()
    while not received.endswith(_STREAM_END[1]):
        await _more(connection, received)
    _check_status(bytes(received[:64]).lower(), received)
    if _STREAM_END[0] not in received:
        raise DoorError(f"a stream ended without its end: {bytes(received[-300:])!r}")


async def _more(connection: trio.SocketStream, received: bytearray) -> None:
    part = await connection.receive_some(_READ_BYTES)
    if not part:
        raise DoorError(f"the connection ended in the middle: {bytes(received[-300:])!r}")
    received += part


def _check_status(head: bytes, received: Iterable[int]) -> None:
    if not head.startswith(b"http/1.1 200"):
        raise DoorError(f"an answer other than 200: {bytes(received)[:500]!r}")


def _number_after(head: bytes, name: bytes) -> int:
    found = head.find(name)
    if found < 0:
        raise DoorError(f"an answer without a length: {head[:500]!r}")
    return int(head[found + len(name) :].partition(b"\r\n")[0])
