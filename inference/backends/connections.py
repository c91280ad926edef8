"""HTTP/1.1 to one server: kept connections, parsed by llhttp (httptools).

A general client spends more on a streamed chunk than all the rest of the node; a server on this
machine needs no redirects, proxies, cookies or unpacking. Errors are `OSError` when there is no
connection, `Ended` when it ends too early, `NotHttp` for what is no HTTP, `TooMuch` for what has no end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import httptools
import trio

from inference.backends.framing import whole_chunk
from inference.plain_socket import PlainSocket, connect

KEEP_S: Final = 5.0
"""A kept connection is not used again after this time: many servers close theirs then."""
_MAX_HEAD_BYTES: Final = 65_536
_INFORMATIONAL: Final = range(100, 200)


TakeFramed = Callable[[bytes], bool | None]


class Ended(Exception):  # noqa: N818  # what happened
    """The server closed the connection before its answer was whole."""


class NotHttp(Exception):  # noqa: N818  # says what came
    """What came breaks the rules of HTTP."""


class TooMuch(Exception):  # noqa: N818  # says what came
    """An answer is longer than any may be."""


class Connection:
    """One connection, for one request at a time. No answer has more than `most_bytes`."""

    def __init__(self, plain: PlainSocket, most_bytes: int) -> None:
        self._plain, self._most_bytes = plain, most_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._parts: deque[bytes] = deque()
        self._fresh()
        self.used_s = 0.0

    def _fresh(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self._parts.clear()
        self._is_head_read = self.is_whole = self._keeps_alive = False
        self._fault: NotHttp | TooMuch | None = None
        self._is_chunk_told = self._is_between_chunks = False
        """Whether the parser has come to the end of a chunk; whether it is just there."""
        self._head_bytes = self._read_bytes = 0

    @property
    def is_reusable(self) -> bool:
        """Whether the answer is whole, and another one may follow."""
        return self.is_whole and self._keeps_alive and self._fault is None

    @property
    def is_quiet(self) -> bool:
        """Whether the server has neither closed it nor sent what nobody asked for."""
        return self._plain.is_quiet()

    async def ask(self, request: bytes) -> None:
        """Send a request, and read the head of its answer."""
        self._fresh()
        try:
            await self._plain.send_all(request)
        except trio.BrokenResourceError as error:
            raise Ended("the server closed the connection") from error
        while not self._is_head_read:
            if self._head_bytes > _MAX_HEAD_BYTES:
                raise NotHttp("the head of its answer is too long")
            await self._more()

    async def receive(self) -> bytes | None:
        """The next piece of the body; None after its end."""
        while not self._parts:
            self.check()
            if self.is_whole:
                return None
            await self._more()
        return self._take_parts()

    async def receive_each(
        self, take: Callable[[bytes], bool], take_framed: TakeFramed | None = None
    ) -> None:
        """Give each piece of the body to `take` as it comes, until that says no or the body ends.

        `take_framed` is given what comes between two chunks first, and says whether it goes on, or None if that
        is not for it. Both are called in the thread of `inference/pump.py`.
        """

        def goes_on(received: bytes) -> bool:
            if self._is_between_chunks:
                has_room = None if take_framed is None else take_framed(received)
                if has_room is None and (chunk := whole_chunk(received)) is not None:
                    has_room = take(chunk)
                if has_room is not None:
                    self._read_bytes += len(received)
                    if self._read_bytes > self._most_bytes:
                        raise self._too_much()
                    return has_room
            self._feed(received)
            if self._parts and not take(self._take_parts()):
                return False
            self.check()
            return not self.is_whole

        if self._parts and not take(self._take_parts()):
            return
        self.check()
        if not self.is_whole:
            try:
                await self._plain.receive_each(goes_on)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise Ended("the server broke the connection") from error

    def _take_parts(self) -> bytes:
        """What has come of the body."""
        part = self._parts.popleft() if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        return part

    async def _more(self) -> None:
        try:
            received = await self._plain.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Ended("the server broke the connection") from error
        self._feed(received)

    def check(self) -> None:
        """Raise what was wrong after the last piece. `receive` and `receive_each` do so themselves."""
        if self._fault is not None:
            raise self._fault

    def _feed(self, received: bytes) -> None:
        """What came before what is wrong is a part of the answer: that is told first."""
        try:
            self._parse(received)
        except (NotHttp, TooMuch) as error:
            if not self._parts:
                raise
            self._fault = error

    def _parse(self, received: bytes) -> None:
        if not received:
            self._on_end()
            return
        if not self._is_head_read:
            self._head_bytes += len(received)
        try:
            self._parser.feed_data(received)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise NotHttp(str(error) or type(error).__name__) from error
        self._read_bytes += len(received)
        if self._read_bytes > self._most_bytes:
            raise self._too_much()
        # What follows a chunk's end is a line with the next one's size: it is told when it is whole.
        self._is_between_chunks = self._is_chunk_told and received.endswith(b"\r\n")

    def _too_much(self) -> TooMuch:
        return TooMuch(f"its answer has more than {self._most_bytes:,} bytes")

    def _on_end(self) -> None:
        headers = self.headers
        has_length = b"content-length" in headers or b"transfer-encoding" in headers
        if not self._is_head_read or has_length:
            raise Ended("the server closed the connection in the middle of its answer")
        self.is_whole, self._keeps_alive = True, False

    # What llhttp calls

    def on_message_begin(self) -> None:
        if self.is_whole:
            raise NotHttp("an answer that nobody asked for")
        self.headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status not in _INFORMATIONAL:
            self._is_head_read = True
            self._keeps_alive = self._parser.should_keep_alive()

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_chunk_header(self) -> None:
        self._is_chunk_told = False

    def on_chunk_complete(self) -> None:
        self._is_chunk_told = True

    def on_message_complete(self) -> None:
        self.is_whole = self._is_head_read

    def close(self) -> None:
        self._plain.close()


class Pool:
    """The connections to one server, at most `most` in use. No answer has more than `most_bytes`."""

    def __init__(self, url: str, most: int, most_bytes: int) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._host, self._port = parts.hostname, parts.port or 80
        self._most, self._most_bytes, self._in_use = most, most_bytes, 0
        self._kept: list[Connection] = []

    async def ask(self, request: bytes, connect_s: float) -> Connection | None:
        """An answer whose head was read; None if all connections are in use.

        The connection must be given back.
        """
        if self._in_use >= self._most:
            return None
        self._in_use += 1
        connection = self._take_kept()
        try:
            if connection is None:
                connection = await self._connect(connect_s)
            await connection.ask(request)
        except BaseException:
            self._in_use -= 1
            if connection is not None:
                connection.close()
            raise
        return connection

    def give_back(self, connection: Connection) -> None:
        """It is kept only after a whole answer; closing it tells the server to stop."""
        self._in_use -= 1
        if connection.is_reusable:
            connection.used_s = trio.current_time()
            self._kept.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close what is kept."""
        while self._kept:
            self._kept.pop().close()

    def _take_kept(self) -> Connection | None:
        """The one that was used last; those that are too old, or ended, are closed."""
        oldest_s = trio.current_time() - KEEP_S
        while self._kept:
            connection = self._kept.pop()
            if connection.used_s >= oldest_s and connection.is_quiet:
                return connection
            connection.close()
            if connection.used_s < oldest_s:
                self.close()
        return None

    async def _connect(self, connect_s: float) -> Connection:
        with trio.move_on_after(connect_s):
            return Connection(await connect(self._host, self._port), self._most_bytes)
        raise TimeoutError(f"no connection within {connect_s:g} s")
