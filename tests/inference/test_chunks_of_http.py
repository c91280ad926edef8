"""The short way for HTTP's chunks gives what llhttp gives, wherever the bytes are cut."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from inference.backends.connections import Connection, Ended, NotHttp, TooMuch
from inference.backends.framing import whole_chunk
from inference.plain_socket import PlainSocket

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Pieces(PlainSocket):
    """A server that sends this, and then closes."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._left = pieces

    async def send_all(self, data: bytes | memoryview) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int = 0) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._left.pop(0) if self._left else b""

    async def receive_each(self, take: Callable[[bytes], bool]) -> None:
        while take(await self.receive_some()):
            pass


def framed(part: bytes, *, style: str) -> bytes:
    size = f"{len(part):{style}}"
    return f"{size}\r\n".encode() + part + b"\r\n"


async def body_of(pieces: list[bytes], *, most_bytes: int = 10_000) -> tuple[list[bytes], bool]:
    """What comes of a body, and whether another answer may follow. Raises as the connection does."""
    connection = Connection(Pieces(pieces), most_bytes)
    await connection.ask(b"")
    got: list[bytes] = []

    def take(part: bytes) -> bool:
        got.append(part)
        return True

    await connection.receive_each(take)
    return got, connection.is_reusable


_PARTS = st.lists(
    st.binary(min_size=1, max_size=20) | st.sampled_from([b"\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n"]),
    max_size=6,
)


@given(
    parts=_PARTS,
    style=st.sampled_from(["x", "X", "04x"]),
    has_end=st.booleans(),
    places=st.lists(st.integers(0), max_size=8),
    at_borders=st.booleans(),
)
def test_a_body_is_the_same_however_it_is_cut(
    parts: list[bytes], style: str, has_end: bool, places: list[int], at_borders: bool
) -> None:
    whole = [framed(part, style=style) for part in parts] + [b"0\r\n\r\n"] * has_end
    body = b"".join(whole)
    borders = {0, len(body), *(place % (len(body) + 1) for place in places)}
    if at_borders:
        borders |= {sum(map(len, whole[:number])) for number in range(len(whole))}
    pieces = [HEAD, *(body[a:b] for a, b in pairwise(sorted(borders)))]
    if has_end:
        got, is_reusable = trio.run(body_of, pieces)
        assert b"".join(got) == b"".join(parts)
        assert is_reusable
    else:
        with pytest.raises(Ended):
            trio.run(body_of, pieces)


async def test_chunks_of_the_plainest_form_take_the_short_way_and_count() -> None:
    part = b"data: {}\n\n"
    pieces = [HEAD, *[framed(part, style="x")] * 5, b"0\r\n\r\n"]
    assert await body_of(list(pieces)) == ([part] * 5, True)
    with pytest.raises(TooMuch):
        await body_of(pieces, most_bytes=100)


@pytest.mark.parametrize(
    "piece",
    [
        b"3\r\nab\r\n",
        b"2\r\nabc\r\n",
        b"3;x=y\r\nabc\r\n",
        b"0\r\n\r\n",
        b"zz\r\n\r\n",
        b"",
        b"3\r\n",
    ],
)
def test_what_is_not_one_whole_chunk_is_left_to_the_parser(piece: bytes) -> None:
    assert whole_chunk(piece) is None


async def test_what_came_before_what_is_wrong_is_given_first() -> None:
    good, bad = framed(b"good", style="x"), b"zz\r\n"
    for pieces in ([HEAD + good + bad], [HEAD, good + bad], [HEAD, good, bad]):
        for passes in (False, True):
            connection, got = Connection(Pieces(list(pieces)), 10_000), list[bytes]()
            await connection.ask(b"")
            with pytest.raises(NotHttp):
                await read(connection, got, passes=passes)
            assert got == [b"good"]
            assert not connection.is_reusable


async def read(connection: Connection, got: list[bytes], *, passes: bool) -> None:
    def take(part: bytes) -> bool:
        got.append(part)
        return True

    if passes:
        await connection.receive_each(take)
    while (part := await connection.receive()) is not None:
        got.append(part)


async def test_a_chunk_that_lies_about_its_size_is_no_http() -> None:
    with pytest.raises(NotHttp):
        await body_of([HEAD, b"3\r\nabc\r\n", b"3\r\nabcd\r\n"])
