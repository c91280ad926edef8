"""The watch over silent streams, on a virtual clock."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from inference.backends.connections import TakeFramed
from inference.backends.openai import SseChunks
from inference.backends.servers import Take
from inference.backends.silence import Patience, watch
from inference.backends.stream import ChunkStream
from inference.backends.wire import Reply
from inference.chat import Call, CallKind
from inference.failures import Broken, Silent


async def test_who_waits_for_longer_than_its_limit_is_cut_off_then(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cut = trio.Event()
    patience = watch(5, cut.set)
    began = trio.current_time()
    patience.begins()
    await cut.wait()
    assert patience.is_over
    assert math.isclose(trio.current_time() - began, 5)


async def test_each_chunk_begins_the_time_anew_and_a_slow_caller_costs_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cut = trio.Event()
    patience = watch(5, cut.set)
    for _ in range(4):
        patience.begins()
        await trio.sleep(4)
        patience.pauses()
        await trio.sleep(100)
    assert not cut.is_set()
    patience.begins()
    await trio.sleep(5.1)
    assert cut.is_set()


class Pinging(Reply):
    """A server that is there, and says nothing for ever."""

    def __init__(self) -> None:
        self.is_cut = False

    async def receive(self) -> bytes:
        await trio.sleep(1)
        if self.is_cut:
            raise Broken("the connection broke")
        return b": ping\n\n"

    async def receive_each(self, take: Take, take_framed: TakeFramed | None = None) -> None:
        while take(await self.receive()):
            pass

    def cut(self) -> None:
        self.is_cut = True

    def close(self) -> None: ...


@pytest.mark.parametrize("passes", [False, True])
async def test_a_server_that_only_pings_is_silent(
    autojump_clock: trio.testing.MockClock,
    passes: bool,
) -> None:
    stream = ChunkStream(Pinging(), SseChunks(), Call(CallKind.CHAT, "m", {}), 5)
    with trio.fail_after(10), pytest.raises(Silent, match="silent for 5 s"):
        await (stream.pass_on(lambda _: True) if passes else stream.receive())
    await stream.aclose()


async def test_the_limits_of_others_do_not_count_and_neither_do_streams_that_have_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    over: list[str] = []

    def begun(name: str, limit_s: float) -> Patience:
        patience = watch(limit_s, lambda: over.append(name))
        patience.begins()
        return patience

    begun("long", 50)
    await trio.sleep(1)
    begun("short", 2)
    begun("ended", 3).ends()
    await trio.sleep(10)
    assert over == ["short"]
    await trio.sleep(40)
    assert over == ["short", "long"]
