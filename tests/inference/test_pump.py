"""What comes in small pieces is taken in a thread, and the task that has it hears of every end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import trio

from inference.plain_socket import PlainSocket


@pytest.fixture
def pair() -> Iterator[tuple[PlainSocket, socket.socket]]:
    ours, theirs = _tcp_pair()
    with ours, theirs:
        yield PlainSocket(ours), theirs


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs


class Taker:
    """Notes what it is given, and by whom; full after so many bytes."""

    def __init__(self, most: int) -> None:
        self.taken, self._most = b"", most
        self.threads: set[int] = set()
        self._token = trio.lowlevel.current_trio_token()
        self.has_some = trio.Event()

    def take(self, received: bytes) -> bool:
        self.taken += received
        self.threads.add(threading.get_ident())
        self._token.run_sync_soon(self.has_some.set)
        return len(self.taken) < self._most


async def test_all_that_comes_is_taken_elsewhere_until_there_is_no_room(
    pair: tuple[PlainSocket, socket.socket],
) -> None:
    ours, theirs = pair
    theirs.sendall(b"abc")
    first, second = Taker(3), Taker(4)
    await ours.receive_each(first.take)
    theirs.sendall(b"def")
    await trio.lowlevel.wait_readable(ours.sock.fileno())
    assert first.taken == b"abc", "what comes after the end is left"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.receive_each, second.take)
        await second.has_some.wait()
        theirs.sendall(b"g")
    assert second.taken == b"defg"
    assert first.threads == second.threads
    assert threading.get_ident() not in first.threads


async def test_the_end_is_nothing_and_asked_for_once(
    pair: tuple[PlainSocket, socket.socket],
) -> None:
    ours, theirs = pair
    taker = Taker(100)
    theirs.close()
    await ours.receive_each(taker.take)
    assert (taker.taken, len(taker.threads)) == (b"", 1)


async def test_what_the_taker_raises_is_raised_to_the_task(
    pair: tuple[PlainSocket, socket.socket],
) -> None:
    ours, theirs = pair

    def take(received: bytes) -> bool:
        raise LookupError(received)

    theirs.sendall(b"x")
    with pytest.raises(LookupError, match="x"):
        await ours.receive_each(take)
    theirs.sendall(b"y")
    assert await ours.receive_some() == b"y", "the socket is as it was"


async def test_a_reset_breaks_it(pair: tuple[PlainSocket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    with pytest.raises(trio.BrokenResourceError):
        await ours.receive_each(Taker(100).take)


async def test_closing_the_socket_ends_it(pair: tuple[PlainSocket, socket.socket]) -> None:
    ours, theirs = pair
    taker = Taker(100)
    theirs.sendall(b"x")

    async def close() -> None:
        await taker.has_some.wait()
        ours.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close)
        with pytest.raises(trio.ClosedResourceError):
            await ours.receive_each(taker.take)


async def test_who_is_cancelled_leaves_what_comes_later_to_others(
    pair: tuple[PlainSocket, socket.socket],
) -> None:
    ours, theirs = pair
    taker = Taker(100)
    theirs.sendall(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.receive_each, taker.take)
        await taker.has_some.wait()
        nursery.cancel_scope.cancel()
    theirs.sendall(b"y")
    assert await ours.receive_some() == b"y"
    assert taker.taken == b"x"


async def until_alone(ours: PlainSocket, theirs: socket.socket, taker: Taker) -> None:
    """Bring the thread to wait in this flow's own socket."""
    while not ours.sock.getblocking():
        taker.has_some = trio.Event()
        theirs.sendall(b".")
        await taker.has_some.wait()


async def test_a_flow_that_is_alone_keeps_no_other_waiting(
    pair: tuple[PlainSocket, socket.socket],
) -> None:
    ours, theirs = pair
    first, second, third = Taker(100), Taker(1), Taker(1)
    other, far = _tcp_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.receive_each, first.take)
        await until_alone(ours, theirs, first)
        with other, far:
            plain = PlainSocket(other)
            far.sendall(b"xy")
            await plain.receive_each(second.take)
            far.sendall(b"z")
            await plain.receive_each(third.take)
        assert first.taken.strip(b".") == b"", "it is silent meanwhile"
        theirs.sendall(b"a")
        theirs.close()
    assert first.taken.endswith(b"a")
    assert (second.taken, third.taken) == (b"xy", b"z")
    assert not ours.sock.getblocking(), "the socket is as it was"


async def test_a_flow_that_is_alone_ends_in_every_way(subtests: pytest.Subtests) -> None:
    async def close(ours: PlainSocket, _: socket.socket, __: trio.CancelScope) -> None:
        ours.close()

    async def cancel(_: PlainSocket, __: socket.socket, scope: trio.CancelScope) -> None:
        scope.cancel()

    async def hang_up(_: PlainSocket, theirs: socket.socket, __: trio.CancelScope) -> None:
        theirs.close()

    for end, expected in (
        (close, trio.ClosedResourceError),
        (cancel, trio.Cancelled),
        (hang_up, None),
    ):
        with subtests.test(end=end.__name__):
            sock, theirs = _tcp_pair()
            ours, taker, ended = PlainSocket(sock), Taker(100), list[type | None]()

            async def receive(
                ours: PlainSocket = ours, taker: Taker = taker, ended: list[type | None] = ended
            ) -> None:
                try:
                    await ours.receive_each(taker.take)
                except BaseException as error:
                    ended.append(type(error))
                    if isinstance(error, trio.Cancelled):
                        raise
                else:
                    ended.append(None)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                await until_alone(ours, theirs, taker)
                await end(ours, theirs, nursery.cancel_scope)
            assert ended == [expected]
            assert taker.taken.strip(b".") == b""
            assert end is close or not ours.sock.getblocking()
            ours.close()
            theirs.close()


async def test_one_thread_serves_many_and_a_number_that_is_used_again() -> None:
    threads: set[int] = set()
    for _ in range(3):
        pairs = [_tcp_pair() for _ in range(20)]
        takers = [Taker(2) for _ in pairs]
        async with trio.open_nursery() as nursery:
            for (ours, theirs), taker in zip(pairs, takers, strict=True):
                nursery.start_soon(PlainSocket(ours).receive_each, taker.take)
                theirs.sendall(b"x")
            for (_, theirs), taker in zip(pairs, takers, strict=True):
                await taker.has_some.wait()
                theirs.sendall(b"y")
        for (ours, theirs), taker in zip(pairs, takers, strict=True):
            ours.close()
            theirs.close()
            assert taker.taken == b"xy"
            threads |= taker.threads
    assert len(threads) == 1


def test_the_thread_ends_with_the_loop() -> None:
    async def main() -> None:
        ours, theirs = _tcp_pair()
        theirs.sendall(b"x")
        await PlainSocket(ours).receive_each(Taker(1).take)
        ours.close()
        theirs.close()
        assert any(one.name == "pump" for one in threading.enumerate())

    before = {one for one in threading.enumerate() if one.name == "pump"}
    trio.run(main)
    for one in set(threading.enumerate()) - before:
        if one.name == "pump":
            one.join(10)
            assert not one.is_alive()
