"""A TCP proxy of the tests' own between two nodes: it delays, throttles, swallows and cuts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import trio

_PIECE_BYTES = 4096


@dataclass
class Proxy:
    """Listens on loopback and carries every connection to `port`; what it does may change at any time.

    `delay_s` is how long each piece is held, `bytes_per_s` how fast they follow each other (None: as they come),
    `swallows` lets everything vanish while both sides' connections stay open, as a cable does that was pulled out.
    """

    port: int
    delay_s: float = 0.0
    bytes_per_s: float | None = None
    swallows: bool = False
    passed_bytes: int = 0
    _scopes: list[trio.CancelScope] = field(default_factory=list)

    async def run(
        self,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,  # type: ignore[name-defined]  # trio-stubs are old
    ) -> None:
        """Serve until cancelled; `started` with the port that it listens on."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        task_status.started(listeners[0].socket.getsockname()[1])
        await trio.serve_listeners(self._carry, listeners)

    def cut(self) -> None:
        """End every connection now; new ones are carried."""
        for scope in self._scopes:
            scope.cancel()
        self._scopes.clear()

    async def _carry(self, one: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            self._scopes.append(scope)
            async with (
                one,
                await trio.open_tcp_stream("127.0.0.1", self.port) as other,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self._pump, one, other, nursery)
                nursery.start_soon(self._pump, other, one, nursery)

    async def _pump(
        self, source: trio.SocketStream, sink: trio.SocketStream, nursery: trio.Nursery
    ) -> None:
        """One direction: pieces are taken as they come and given on when their time has come."""
        waiting: deque[tuple[float, bytes]] = deque()
        came = trio.Event()

        async def take() -> None:
            nonlocal came
            free_at = 0.0
            while data := await source.receive_some(_PIECE_BYTES):
                now = trio.current_time()
                if self.bytes_per_s is not None:
                    free_at = max(now, free_at) + len(data) / self.bytes_per_s
                    await trio.sleep_until(free_at)
                waiting.append((trio.current_time() + self.delay_s, data))
                came.set()
            await self._tell_end()
            nursery.cancel_scope.cancel()

        async def give() -> None:
            nonlocal came
            while True:
                while waiting:
                    due, data = waiting.popleft()
                    await trio.sleep_until(due)
                    if not self.swallows:
                        await sink.send_all(data)
                        self.passed_bytes += len(data)
                came = trio.Event()
                await came.wait()

        try:
            async with trio.open_nursery() as both:
                both.start_soon(take)
                both.start_soon(give)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            await self._tell_end()
            nursery.cancel_scope.cancel()

    async def _tell_end(self) -> None:
        """A line on which nothing comes any more does not tell of the other end's going either."""
        if self.swallows:
            await trio.sleep_forever()
