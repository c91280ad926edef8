"""The gateway's own HTTP/1.1 server, byte by byte: what callers may rely on, and what they can't break."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
import wsproto
from starlette.types import ASGIApp, Receive, Scope, Send
from wsproto.events import AcceptConnection, TextMessage

from node.gateway.http.exchange import Exchange
from node.gateway.http.listening import serve


class App:
    """Answers by path, and notes what it was asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []
        self.written = 0
        self.gone = trio.Event()
        self.waiting = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._echo(receive, send)
            return
        path = scope["path"]
        if path != "/unread":
            self.seen.append((scope["method"], path, await body_of(receive)))
        if path == "/bug":
            raise RuntimeError("a bug")
        if path == "/wait":
            self.waiting.set()
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gone.set()
            return
        headers = [(b"content-length", b"2")] if path == "/sized" else []
        exchange = scope["extensions"]["bizra.exchange"]
        exchange.head_waits = path in ("/soon", "/bug-soon")
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._stream(path, exchange)
        if path == "/broken":
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise RuntimeError("in the middle")
        if path == "/flood":
            for _ in range(1000):
                await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
                self.written += 65536
        await send({"type": "http.response.body", "body": b"ok"})

    async def _stream(self, path: str, exchange: Exchange) -> None:
        if path == "/bug-soon":
            raise RuntimeError("before the first piece")
        if path in ("/later", "/soon"):
            self.waiting.set()
            await self.gone.wait()
        if path == "/now":
            await self._write_now(exchange)

    async def _write_now(self, exchange: Exchange) -> None:
        """Pieces without waiting until there is no room, and some after that."""
        is_room, left = True, 5
        while left:
            left -= not is_room
            if not is_room:
                self.waiting.set()
                await exchange.room()
            is_room = exchange.send_now(self.written.to_bytes(4, "big") * 1000)
            self.written += 1
        await exchange.room()
        self.gone.set()

    async def _echo(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"].upper()})


async def body_of(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body + b"<gone>"
        body += bytes(message["body"])
        if not message["more_body"]:
            return body


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[Callable[[], Any]]:
    """A function that opens a connection; the server ends with the block, and leaves nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, app, listener, stop.wait)
        yield partial(trio.open_tcp_stream, "127.0.0.1", port)
        stop.set()


async def read_all(stream: trio.SocketStream) -> bytes:
    received = b""
    while part := await stream.receive_some():
        received += part
    return received


async def read_until(stream: trio.SocketStream, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        part = await stream.receive_some()
        assert part, received
        received += part
    return received


async def send_for_ever(stream: trio.SocketStream) -> None:
    while True:
        await stream.send_all(bytes(65_536))


def get(path: str, *headers: str, version: str = "1.1") -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"GET {path} HTTP/{version}\r\nHost: x\r\n{lines}\r\n".encode()


async def test_one_connection_carries_request_after_request() -> None:
    async with served(App()) as connect, await connect() as stream:
        for path in ("/sized", "/chunked"):
            await stream.send_all(get(path))
            sized = b"content-length: 2\r\n\r\nok"
            chunked = b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            expected = b"HTTP/1.1 200 OK\r\n" + (sized if path == "/sized" else chunked)
            assert await read_until(stream, expected[-4:]) == expected


async def test_requests_sent_at_once_are_answered_in_order() -> None:
    app = App()
    async with served(app) as connect, await connect() as stream:
        await stream.send_all(b"".join(get(f"/{number}") for number in range(40)) + get("/sized"))
        await read_until(stream, b"content-length: 2\r\n\r\nok")
    assert [path for _, path, _ in app.seen] == [*(f"/{number}" for number in range(40)), "/sized"]


async def test_a_body_comes_whole_however_it_is_sent() -> None:
    app = App()
    async with served(app) as connect, await connect() as stream:
        head = b"POST /sized HTTP/1.1\r\nHost: x\r\n"
        await stream.send_all(head + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await stream.send_all(b"3\r\ndef\r\n0\r\n\r\n")
        await read_until(stream, b"ok")
        for piece in (head, b"Content-Length: 4\r\n\r", b"\nwx", b"yz"):
            await stream.send_all(piece)
        await read_until(stream, b"ok")
    assert [body for *_, body in app.seen] == [b"abcdef", b"wxyz"]


async def test_who_asks_whether_to_go_on_is_told_so() -> None:
    async with served(App()) as connect, await connect() as stream:
        await stream.send_all(
            b"POST /sized HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
        )
        assert await read_until(stream, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send_all(b"y")
        await read_until(stream, b"ok")


async def test_head_has_no_body() -> None:
    async with served(App()) as connect, await connect() as stream:
        await stream.send_all(b"HEAD /sized HTTP/1.1\r\nHost: x\r\n\r\n" + get("/sized"))
        received = await read_until(stream, b"ok")
        assert received.count(b"200 OK") == 2
        assert received.count(b"ok") == 1


@pytest.mark.parametrize(
    "request_bytes", [get("/sized", "Connection: close"), get("/x", version="1.0")]
)
async def test_a_connection_ends_when_the_caller_wishes(request_bytes: bytes) -> None:
    async with served(App()) as connect, await connect() as stream:
        await stream.send_all(request_bytes)
        received = await read_all(stream)
        assert b"connection: close" in received
        assert received.endswith(b"\r\n\r\nok")


async def test_a_broken_answer_never_looks_whole() -> None:
    """Where only the end of the connection ends an answer, that is a reset."""
    async with served(App()) as connect, await connect() as stream:
        await stream.send_all(get("/broken", version="1.0"))
        with pytest.raises(trio.BrokenResourceError):
            await read_all(stream)


async def test_what_left_of_a_broken_stream_arrives_but_not_its_last_chunk() -> None:
    async with served(App()) as connect, await connect() as stream:
        await stream.send_all(get("/broken"))
        received = await read_all(stream)
        assert received.endswith(b"4\r\nhalf\r\n")
        assert b"\r\n0\r\n" not in received


async def test_the_head_of_a_stream_does_not_wait_for_its_body() -> None:
    app = App()
    async with served(app) as connect, await connect() as stream:
        await stream.send_all(get("/later"))
        with trio.fail_after(5):
            assert b"200 OK" in await read_until(stream, b"\r\n\r\n")
            app.gone.set()
            assert await read_until(stream, b"0\r\n\r\n") == b"2\r\nok\r\n0\r\n\r\n"


async def test_a_bug_before_the_answer_is_a_500() -> None:
    async with served(App()) as connect, await connect() as stream:
        await stream.send_all(get("/bug"))
        assert (await read_until(stream, b"it")).startswith(b"HTTP/1.1 500 ")
        await stream.send_all(get("/sized"))
        await read_until(stream, b"ok")


async def test_the_application_hears_of_a_caller_who_hangs_up() -> None:
    app = App()
    async with served(app) as connect:
        stream = await connect()
        await stream.send_all(get("/wait"))
        await app.waiting.wait()
        await stream.aclose()
        with trio.fail_after(5):
            await app.gone.wait()


async def test_a_caller_who_does_not_read_stops_the_answer() -> None:
    app = App()
    async with served(app) as connect, await connect() as stream:
        await stream.send_all(get("/flood"))
        await stream.receive_some()
        before = -1
        while before != app.written:
            before = app.written
            await trio.testing.wait_all_tasks_blocked(0.05)
        assert app.written < 1000 * 65536
        await stream.aclose()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"rubbish\r\n\r\n", b"400"),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"400",
        ),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"a: " + b"b" * 200_000, b"431"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
    ],
)
async def test_what_is_no_request_is_refused(sent: bytes, status: bytes) -> None:
    async with served(App()) as connect, await connect() as stream:
        await stream.send_all(sent)
        with trio.fail_after(5):
            assert (await read_all(stream)).startswith(b"HTTP/1.1 " + status)


async def test_a_body_that_nobody_reads_is_not_kept() -> None:
    async with served(App()) as connect, await connect() as stream:
        await stream.send_all(
            b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"
        )
        received = await read_until(stream, b"0\r\n\r\n")
        assert b"200 OK" in received
        with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
            await send_for_ever(stream)


async def test_an_idle_connection_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.gateway.http.listening.IDLE_S", 0.05)
    async with served(App()) as connect, await connect() as stream:
        with trio.fail_after(5):
            assert await read_all(stream) == b""


async def test_shutdown_lets_an_answer_end_and_closes_what_is_idle() -> None:
    app = App()
    with trio.fail_after(5):
        async with served(app) as connect:
            idle, busy = await connect(), await connect()
            await busy.send_all(get("/wait"))
            await app.waiting.wait()
        async with idle, busy:
            assert await read_all(idle) == b""


async def test_a_websocket_is_served() -> None:
    async with served(App()) as connect, await connect() as stream:
        ws = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        await stream.send_all(ws.send(wsproto.events.Request(host="x", target="/ws")))
        said: list[Any] = []
        while not any(isinstance(event, TextMessage) for event in said):
            received = await stream.receive_some()
            assert received, said
            ws.receive_data(received)
            for event in ws.events():
                said.append(event)
                if isinstance(event, AcceptConnection):
                    await stream.send_all(ws.send(TextMessage("hello")))
        assert said[-1].data == "HELLO"


async def test_another_protocol_is_declined_by_an_answer() -> None:
    async with served(App()) as connect, await connect() as stream:
        await stream.send_all(get("/sized", "Connection: Upgrade", "Upgrade: h2c"))
        assert (await read_all(stream)).endswith(b"ok")


async def test_what_a_slow_caller_had_no_room_for_comes_in_its_place() -> None:
    app = App()
    async with served(app) as connect, await connect() as stream:
        await stream.send_all(get("/now"))
        await app.waiting.wait()
        received = await read_until(stream, b"2\r\nok\r\n0\r\n\r\n")
    _, _, framed = received.partition(b"\r\n\r\n")
    pieces = [b"fa0\r\n" + number.to_bytes(4, "big") * 1000 for number in range(app.written)]
    assert framed == b"\r\n".join([*pieces, b"2\r\nok", b"0\r\n\r\n"])


async def test_who_hangs_up_is_not_waited_for_when_there_is_no_room() -> None:
    app = App()
    async with served(app) as connect:
        async with await connect() as stream:
            await stream.send_all(get("/now"))
            await app.waiting.wait()
        with trio.fail_after(10):
            await app.gone.wait()


async def test_a_head_whose_first_piece_is_at_hand_leaves_with_it() -> None:
    app = App()
    async with served(app) as connect, await connect() as stream:
        await stream.send_all(get("/soon"))
        await app.waiting.wait()
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught
        app.gone.set()
        received = await stream.receive_some()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")


async def test_a_bug_before_the_first_piece_is_told_whole() -> None:
    async with served(App()) as connect, await connect() as stream:
        await stream.send_all(get("/bug-soon", "Connection: close"))
        head, _, body = (await read_all(stream)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500 ")
    assert b"transfer-encoding" not in head
    assert f"content-length: {len(body)}".encode() in head
