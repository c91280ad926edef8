"""HTTP to one model server: bounded answers, and a typed failure for whatever goes wrong.

It stands on httpcore2, the lower half of httpx2: no redirects, proxies, cookies or unpacking, which
a server beside this node does not need. (httpx2 also leaves a generator of httpcore2's open when an
answer is closed early, to be found by the garbage collector.)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec
import trio

from inference.chat import JsonObject, decode_object, error_text
from inference.failures import Broken, Failure, Garbled, Silent, Unreachable, failure_of_status
from inference.retry import parse_retry_after_ms

if TYPE_CHECKING:
    import httpcore2

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""A plain answer, or all of a stream: 4,096 vectors in JSON, and far more text than any model writes."""
MAX_CONNECTIONS: Final = 64
_MAX_ERROR_BYTES: Final = 64 * 1024
_CONNECT_S: Final = 3.0
_KEEP_S: Final = 5.0
_TIMEOUTS: Final = {"timeout": {"connect": _CONNECT_S, "pool": _CONNECT_S}}
"""httpcore2's own. How long an answer may take is not its matter but that of `_in_time`."""
_OK: Final = 200


class Wire:
    """The connections to one server. `timeout_s` bounds the wait for an answer."""

    def __init__(self, url: str, api_key: str | None, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._headers = [
            ("Host", urlsplit(url).netloc),
            ("Accept-Encoding", "identity"),
            ("Content-Type", "application/json"),
        ]
        if api_key is not None:
            self._headers.append(("Authorization", f"Bearer {api_key}"))
        self._client: httpcore2.AsyncConnectionPool | None = None

    async def aclose(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def get(self, path: str, timeout_s: float) -> JsonObject:
        """A JSON object."""
        return await self._whole("GET", path, None, timeout_s)

    async def post(self, path: str, body: JsonObject) -> JsonObject:
        """The JSON object that answers one."""
        return await self._whole("POST", path, body, self._timeout_s)

    async def open(self, path: str, body: JsonObject, media_type: str) -> Reply:
        """An answer of this media type, its head alone read. The caller closes it."""
        reply = await self._send("POST", path, body, self._timeout_s)
        try:
            await _check_status(reply)
            await _check_media_type(reply, media_type)
        except BaseException:
            await reply.aclose()
            raise
        return reply

    async def _whole(
        self, method: str, path: str, body: JsonObject | None, timeout_s: float
    ) -> JsonObject:
        with _in_time(timeout_s):
            reply = await self._send(method, path, body, timeout_s)
            try:
                await _check_status(reply)
                return decode_object(await reply.read(MAX_ANSWER_BYTES))
            finally:
                await reply.aclose()
        raise AssertionError  # pragma: no cover - `_in_time` returns or raises

    async def _send(
        self, method: str, path: str, body: JsonObject | None, timeout_s: float
    ) -> Reply:
        import httpcore2  # noqa: PLC0415 - only nodes with model servers need it

        content = None if body is None else msgspec.json.encode(body)
        client = self._ready_client()
        headers = [*self._headers, ("Content-Length", str(len(content or b"")))]
        with _telling(self._url):
            request = httpcore2.Request(
                method, self._url + path, headers=headers, content=content, extensions=_TIMEOUTS
            )
            with _in_time(timeout_s):
                return Reply(await client.handle_async_request(request), self._url)
        raise AssertionError  # pragma: no cover - as above

    def _ready_client(self) -> httpcore2.AsyncConnectionPool:
        if self._client is None:
            import httpcore2  # noqa: PLC0415 - as above

            self._client = httpcore2.AsyncConnectionPool(
                max_connections=MAX_CONNECTIONS,
                keepalive_expiry=_KEEP_S,
                network_backend=httpcore2.TrioBackend(),
            )
        return self._client


class Reply:
    """An answer whose head has come. Must be closed; closed early, it tells the server to stop."""

    def __init__(self, response: httpcore2.Response, url: str) -> None:
        self._response, self._url = response, url
        self._parts = response.aiter_stream()
        self._headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        self._read_bytes = 0

    @property
    def status(self) -> int:
        return int(self._response.status)

    @property
    def media_type(self) -> str:
        """Without parameters."""
        return self._headers.get(b"content-type", "").partition(";")[0].strip().lower()

    @property
    def retry_after_ms(self) -> int | None:
        headers = self._headers
        return parse_retry_after_ms(headers.get(b"retry-after-ms"), headers.get(b"retry-after"))

    async def receive(self) -> bytes | None:
        """The next bytes; None at the end. Raises `Broken`, `Garbled`."""
        with _telling(self._url, begun=True):
            part = await anext(self._parts, None)
        if part is not None:
            self._read_bytes += len(part)
            if self._read_bytes > MAX_ANSWER_BYTES:
                raise Garbled(f"its answer has more than {MAX_ANSWER_BYTES:,} bytes")
        return part

    async def read(self, most_bytes: int) -> bytes:
        """All that comes; what is beyond `most_bytes` is left, to be noticed as half a JSON."""
        parts = bytearray()
        while len(parts) < most_bytes and (part := await self.receive()) is not None:
            parts += part
        return bytes(parts)

    async def aclose(self) -> None:
        """Close it; the connection is kept only after a proper end."""
        with trio.CancelScope(shield=True):
            if isinstance(self._parts, AsyncGenerator):
                await self._parts.aclose()
            await self._response.aclose()


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


@contextmanager
def _in_time(timeout_s: float) -> Iterator[None]:
    with trio.move_on_after(timeout_s) as scope:
        yield
    if scope.cancelled_caught:
        raise Silent(f"it did not answer within {timeout_s:g} s")


@contextmanager
def _telling(url: str, *, begun: bool = False) -> Iterator[None]:
    """httpcore2's errors as ours."""
    import httpcore2  # noqa: PLC0415 - as above; it is loaded by now

    try:
        yield
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
        raise Unreachable(
            f"nothing answers at {url} ({str(error) or type(error).__name__})"
        ) from error
    except httpcore2.PoolTimeout as error:
        raise Unreachable(f"all {MAX_CONNECTIONS} connections to {url} are in use") from error
    except httpcore2.RemoteProtocolError as error:
        failure: type[Failure] = Broken if begun or "disconnected" in str(error) else Garbled
        raise failure(f"its answer broke the rules of HTTP: {error}") from error
    except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException) as error:
        told = str(error) or type(error).__name__
        raise Broken(f"the connection to {url} broke: {told}") from error
