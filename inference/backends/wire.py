"""HTTP to one model server: bounded answers, and a typed failure for whatever goes wrong.

`connections.py` carries the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec
import trio

from inference.backends.connections import Connection, Ended, NotHttp, Pool, TakeFramed, TooMuch
from inference.chat import JsonObject, decode_object, error_text
from inference.failures import (
    Broken,
    Failure,
    Garbled,
    Silent,
    Unreachable,
    failure_of_status,
)
from inference.retry import parse_retry_after_ms

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""A plain answer, or all of a stream: 4,096 vectors in JSON, and far more text than any model writes."""
MAX_CONNECTIONS: Final = 64
_MAX_ERROR_BYTES: Final = 64 * 1024
_CONNECT_S: Final = 3.0
_OK: Final = 200


class Wire:
    """The connections to one server. `timeout_s` bounds the wait for an answer."""

    def __init__(self, url: str, api_key: str | None, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        parts = urlsplit(self._url)
        self._base = parts.path
        lines = [
            f"Host: {parts.netloc}",
            "Accept-Encoding: identity",
            "Content-Type: application/json",
        ]
        if api_key is not None:
            lines.append(f"Authorization: Bearer {api_key}")
        self._headers = "\r\n".join(lines)
        self._pool = Pool(url, MAX_CONNECTIONS, MAX_ANSWER_BYTES)

    async def aclose(self) -> None:
        """Close the connections that nobody uses."""
        self._pool.close()

    async def get(self, path: str, timeout_s: float) -> JsonObject:
        """A JSON object."""
        return await self._whole("GET", path, None, timeout_s)

    async def post(self, path: str, body: JsonObject) -> JsonObject:
        """The JSON object that answers one."""
        return await self._whole("POST", path, body, self._timeout_s)

    async def open(self, path: str, body: JsonObject, media_type: str) -> Reply:
        """An answer of this media type, its head alone read. The caller closes it."""
        with trio.move_on_after(self._timeout_s):
            reply = await self._send("POST", path, body)
            try:
                await _check_status(reply)
                await _check_media_type(reply, media_type)
            except BaseException:
                reply.close()
                raise
            return reply
        raise _too_late(self._timeout_s)

    async def _whole(
        self, method: str, path: str, body: JsonObject | None, timeout_s: float
    ) -> JsonObject:
        with trio.move_on_after(timeout_s):
            reply = await self._send(method, path, body)
            try:
                await _check_status(reply)
                return decode_object(await reply.read(MAX_ANSWER_BYTES))
            finally:
                reply.close()
        raise _too_late(timeout_s)

    async def _send(self, method: str, path: str, body: JsonObject | None) -> Reply:
        content = b"" if body is None else msgspec.json.encode(body)
        head = (
            f"{method} {self._base}{path} HTTP/1.1\r\n{self._headers}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        try:
            connection = await self._pool.ask(head.encode("latin-1") + content, _CONNECT_S)
        except _TROUBLE as error:
            raise _told(self._url, error) from error
        if connection is not None:
            return Reply(connection, self._pool, self._url)
        raise Unreachable(f"all {MAX_CONNECTIONS} connections to {self._url} are in use")


class Reply:
    """An answer whose head has come. Must be closed; closed early, it tells the server to stop."""

    def __init__(self, connection: Connection, pool: Pool, url: str) -> None:
        self._connection, self._pool, self._url = connection, pool, url
        self._is_open = True

    @property
    def status(self) -> int:
        return self._connection.status

    @property
    def is_whole(self) -> bool:
        """Whether its end has been read."""
        return self._connection.is_whole

    @property
    def media_type(self) -> str:
        """Without parameters."""
        return self._header(b"content-type").partition(";")[0].strip().lower()

    @property
    def retry_after_ms(self) -> int | None:
        named = self._connection.headers
        texts = (
            self._header(name) if name in named else None
            for name in (b"retry-after-ms", b"retry-after")
        )
        return parse_retry_after_ms(*texts)

    def _header(self, name: bytes) -> str:
        return self._connection.headers.get(name, b"").decode("latin-1")

    async def receive(self) -> bytes | None:
        """The next bytes; None at the end. Raises `Broken`, `Garbled`."""
        try:
            return await self._connection.receive()
        except _TROUBLE as error:
            raise _told(self._url, error) from error

    async def receive_each(
        self, take: Callable[[bytes], bool], take_framed: TakeFramed | None = None
    ) -> None:
        """Give the bytes to `take` as they come, until that says no or they end. Raises as `receive` does.

        As `Connection.receive_each`.
        """
        try:
            await self._connection.receive_each(take, take_framed)
        except _TROUBLE as error:
            raise _told(self._url, error) from error

    async def read(self, most_bytes: int) -> bytes:
        """All that comes; what is beyond `most_bytes` is left, to be noticed as half a JSON."""
        parts = bytearray()
        while len(parts) < most_bytes and (part := await self.receive()) is not None:
            parts += part
        try:
            self._connection.check()
        except _TROUBLE as error:
            raise _told(self._url, error) from error
        return bytes(parts)

    def cut(self) -> None:
        """Break the connection under whoever waits for it, who is told so by `Broken`."""
        self._connection.close()

    def close(self) -> None:
        """Close it; the connection is kept only after a proper end."""
        if self._is_open:
            self._is_open = False
            self._pool.give_back(self._connection)


async def _check_status(reply: Reply) -> None:
    if reply.status == _OK:
        return
    content = await reply.read(_MAX_ERROR_BYTES)
    try:
        text = error_text(decode_object(content))
    except Garbled:
        # A proxy's HTML, or nothing at all: the status says enough.
        text = None
    told = text or f"it answered with the HTTP status {reply.status}"
    raise failure_of_status(reply.status, told, reply.retry_after_ms)


async def _check_media_type(reply: Reply, expected: str) -> None:
    if reply.media_type != expected:
        shown = (await reply.read(_MAX_ERROR_BYTES))[:60].decode("utf-8", "replace")
        raise Garbled(f"it streams {reply.media_type!r} instead of {expected}: {shown!r}")


def _too_late(timeout_s: float) -> Silent:
    return Silent(f"it did not answer within {timeout_s:g} s")


_TROUBLE: Final = (OSError, NotHttp, TooMuch, Ended)


def _told(url: str, error: Exception) -> Failure:
    match error:
        case NotHttp():
            return Garbled(f"its answer broke the rules of HTTP: {error}")
        case TooMuch():
            return Garbled(str(error))
        case Ended():
            return Broken(f"the connection to {url} broke: {error}")
        case _:
            return Unreachable(f"nothing answers at {url} ({str(error) or type(error).__name__})")
