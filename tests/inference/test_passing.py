"""Streams passed on as bytes: what a caller reads is what `receive` would have given, however it is cut."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from inference.backends.connections import TakeFramed
from inference.backends.framing import framed, whole_chunk
from inference.backends.openai import SseChunks
from inference.backends.servers import Take
from inference.backends.stream import ChunkStream
from inference.backends.wire import Reply
from inference.chat import Call, CallKind
from inference.failures import Broken, Failure, Garbled
from inference.sse import DONE, SseParser, event
from tests.inference.servers import chunks_of
from tests.inference.test_streams import cut, delta

CALL = Call(CallKind.CHAT, "m", {})


class Parts(Reply):
    """An answer that is here in pieces; it breaks off after them unless it `is_finished`."""

    def __init__(self, parts: list[bytes], *, is_finished: bool = True) -> None:
        self.left, self._is_finished = list(parts), is_finished

    @property
    def is_whole(self) -> bool:
        return not self.left and self._is_finished

    async def receive_each(self, take: Take, take_framed: TakeFramed | None = None) -> None:
        await trio.lowlevel.checkpoint()
        while self.left:
            part = self.left.pop(0)
            has_room = take_framed(framed(part)) if take_framed else None
            if not (take(part) if has_room is None else has_room):
                return
        if not self._is_finished:
            raise Broken("the connection broke")

    async def receive(self) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self.left.pop(0) if self.left else None

    def cut(self) -> None: ...

    def close(self) -> None: ...


class Slow:
    """Takes every second piece only, and is asked again for none of them."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def take(self, data: bytes) -> bool:
        self.taken.append(data)
        return len(self.taken) % 2 == 1


async def passed(reply: Parts, taken: list[bytes] | None = None) -> bytes:
    """All that a quick caller reads of it. Raises `Failure`."""
    events = [] if taken is None else taken

    def take(data: bytes) -> bool:
        events.append(data)
        return True

    def take_framed(data: bytes) -> bool:
        assert events, "the first piece needs the answer's head before it"
        part = whole_chunk(data)
        assert part is not None
        return take(part)

    stream = ChunkStream(reply, SseChunks(), CALL, 5)
    try:
        last = await stream.pass_on(take, take_framed)
        assert last is not None
        return b"".join(events) + last
    finally:
        await stream.aclose()


async def received(reply: Parts) -> list[dict[str, Any]]:
    return await chunks_of(ChunkStream(reply, SseChunks(), CALL, 5))


def told(events: bytes) -> list[Any]:
    return [json.loads(data) for data in SseParser().feed(events)]


_CHUNK = st.builds(
    delta,
    st.text(max_size=5),
    st.sampled_from([None, None, "stop"]),
    id=st.sampled_from(["x", "x", "y"]),
    usage=st.none() | st.integers(),
)
_FRAMED = st.sampled_from(
    [
        event,
        lambda data: b": ping\n\ndata:" + data + b"\r\n\r\n",
        lambda data: b"data: " + data.replace(b",", b",\ndata: ") + b"\n\n",
        lambda data: event(data.replace(b":", b":\r")),
    ]
)


@given(
    chunks=st.lists(st.tuples(_CHUNK, _FRAMED), min_size=1, max_size=6),
    has_done=st.booleans(),
    places=st.lists(st.integers(0)),
)
def test_what_is_passed_on_is_what_would_be_received(
    chunks: list[tuple[dict[str, Any], Any]],
    has_done: bool,
    places: list[int],
) -> None:
    # A comma inside of a text would be cut too: the texts have none.
    written = b"".join(
        frame(json.dumps(chunk, separators=(",", ":")).encode())
        for chunk, frame in chunks
        if "," not in chunk["choices"][0]["delta"].get("content", "")
    )
    parts = cut(written + (event(DONE) if has_done else b""), places)
    got: list[bytes] = []
    try:
        expected = trio.run(received, Parts(parts))
    except Failure as failure:
        with pytest.raises(type(failure)):
            trio.run(passed, Parts(parts), got)
    else:
        events = trio.run(passed, Parts(parts))
        assert told(events) == expected
        assert b"\r" not in events


async def test_a_chunk_that_needs_no_change_is_passed_on_byte_for_byte() -> None:
    first = b'{"id":"a","model":"m", "choices":[{"delta":{"role":"assistant","content":"x"}}]}'
    second = b'{"choices" : [{"delta":{},"finish_reason":"stop"}], "id":"a", "own": 1.50e+1}'
    parts = [event(first), event(second) + event(DONE)]
    assert await passed(Parts(parts)) == event(first) + event(second)


async def test_another_id_and_a_missing_role_are_put_right() -> None:
    parts = [
        event(msgspec.json.encode(delta("a", id="a"))),
        event(msgspec.json.encode(delta("b", "stop", id="b"))),
    ]
    first, second = told(await passed(Parts(parts)))
    assert first["choices"][0]["delta"] == {"content": "a", "role": "assistant"}
    assert second["id"] == "a"
    assert second["choices"][0]["delta"] == {"content": "b"}


async def test_what_came_before_garbage_is_passed_on() -> None:
    good = event(b'{"id":"a","choices":[{"delta":{"role":"assistant","content":"x"}}]}')
    got: list[bytes] = []
    with pytest.raises(Garbled):
        await passed(Parts([good + b"data: {half\n\n"]), got)
    assert got == [good]


@pytest.mark.parametrize("end", [b"", event(DONE)])
async def test_a_stream_without_a_finish_reason_is_broken_and_nothing_of_it_is_lost(
    end: bytes,
) -> None:
    good = event(b'{"id":"a","choices":[{"delta":{"role":"assistant","content":"x"}}]}')
    got: list[bytes] = []
    with pytest.raises(Broken):
        await passed(Parts([good + end]), got)
    assert got == [good]


async def test_a_connection_that_breaks_is_no_end() -> None:
    good = event(msgspec.json.encode(delta("a", "stop", id="a")))
    with pytest.raises(Broken):
        await passed(Parts([good], is_finished=False))


async def test_who_has_no_room_gets_everything_once_and_nothing_is_read_meanwhile() -> None:
    chunks = [delta(str(number), "stop" if number == 9 else None, id="a") for number in range(10)]
    reply = Parts([*(event(msgspec.json.encode(one)) for one in chunks), event(DONE)])
    stream, caller, pauses = ChunkStream(reply, SseChunks(), CALL, 5), Slow(), 0
    while (last := await stream.pass_on(caller.take)) is None:
        pauses += 1
        assert len(caller.taken) + len(reply.left) == len(chunks) + 1
    await stream.aclose()
    texts = [one["choices"][0]["delta"]["content"] for one in told(b"".join(caller.taken) + last)]
    assert "".join(texts) == "0123456789"
    assert pauses == 5


async def test_after_a_part_was_received_the_rest_is_passed_on() -> None:
    chunks = [delta("a", id="a"), delta("b", id="a"), delta("c", "stop", id="a")]
    events = [event(msgspec.json.encode(one)) for one in chunks]
    got: list[bytes] = []

    def take(data: bytes) -> bool:
        got.append(data)
        return True

    stream = ChunkStream(
        Parts([events[0] + events[1], events[2] + event(DONE)]), SseChunks(), CALL, 5
    )
    first = await stream.receive()
    assert first is not None
    last = await stream.pass_on(take)
    await stream.aclose()
    assert last is not None
    assert [
        one["choices"][0]["delta"]["content"] for one in [first, *told(b"".join(got) + last)]
    ] == ["a", "b", "c"]
