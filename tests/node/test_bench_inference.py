"""The callers of the benchmark of the doors for models: what they count, and what they say when a door refuses them."""

from __future__ import annotations

import pytest
import trio

from node.bench.inference.callers import DoorError, ask
from node.bench.inference.doors import model_server

REFUSAL = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 9\r\n\r\ntoo often"


@pytest.mark.parametrize("stream", [False, True])
def test_answers_are_counted_with_how_long_each_took(stream: bool) -> None:
    with model_server() as url:

        async def asked() -> tuple[int, int]:
            timed = await ask(url, "bench", stream=stream, callers=2, seconds=0.3)
            return timed.requests, len(timed.latencies_s)

        requests, latencies = trio.run(asked)
    assert requests == latencies >= 2


@pytest.mark.parametrize("callers", [1, 3])
async def test_a_door_that_refuses_ends_the_measurement_with_its_words(callers: int) -> None:
    async def refuse(connection: trio.SocketStream) -> None:
        await connection.receive_some()
        await connection.send_all(REFUSAL)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, refuse, [listener])
        port = listener.socket.getsockname()[1]
        with pytest.raises(DoorError, match=r"429 Too Many Requests.*too often"):
            await ask(f"http://127.0.0.1:{port}", "bench", stream=False, callers=callers, seconds=5)
        nursery.cancel_scope.cancel()
