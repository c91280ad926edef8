"""What comes in small pieces over a long time goes on in a thread of its own, without a turn of Trio's loop for each.

A turn of the loop costs more than all the rest that is done for one chunk of a stream: it is much code, which nobody
has run for the milliseconds since the last chunk. So the task that has a stream sleeps until the stream is over, and
one thread for all streams waits for what comes on any of them, and calls what takes it.

    await pump_each(sock, take)     # `take` runs in the thread

While a task sleeps here what `take` uses is the thread's alone, but for what the task's own cancellation needs. `take`
must not wait, nor ask Trio for anything. To cancel the task, or to end its flow, waits until `take` has returned.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

READ_BYTES: Final = 65_536
_MOST_AT_ONCE: Final = 64


class Flow:
    """What comes to one socket, until `take` says no."""

    def __init__(self, pump: _Pump, sock: socket.socket, take: Callable[[bytes], bool]) -> None:
        self._pump, self._sock, self._take = pump, sock, take
        self._task = trio.lowlevel.current_task()
        self._turn = threading.Lock()
        self._is_over = False
        self.error: Exception | None = None

    def advance(self) -> None:
        """In the thread: something has come."""
        with self._turn:
            if self._is_over:
                return
            try:
                received = self._sock.recv(READ_BYTES)
                if self._take(received) and received:
                    return
            except BlockingIOError:
                return
            except OSError as error:
                self.error = trio.BrokenResourceError()
                self.error.__cause__ = error
            except Exception as error:  # noqa: BLE001 - the task that waits shall have it
                self.error = error
            self._leave()
        self._pump.tell(self._task)

    def withdraw(self) -> bool:
        """Nothing is taken from now on; False if it was over before, and the task will hear of it."""
        with self._turn:
            if self._is_over:
                return False
            self._leave()
        return True

    def end(self, error: Exception) -> None:
        """End it for the task that waits; nothing if it is over."""
        if self.withdraw():
            self.error = error
            trio.lowlevel.reschedule(self._task)

    def _leave(self) -> None:
        self._is_over = True
        self._pump.leave(self._sock.fileno())


class _Pump:
    """The thread of one run of Trio's loop."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._epoll = select.epoll()
        self._flows: dict[int, Flow] = {}
        self._is_over = os.eventfd(0, os.EFD_CLOEXEC)
        self._epoll.register(self._is_over, select.EPOLLIN)
        threading.Thread(target=self._run, name="pump", daemon=True).start()

    def enter(self, sock: socket.socket, take: Callable[[bytes], bool]) -> Flow:
        """From now on what comes is taken in the thread, also while it waits for others."""
        number = sock.fileno()
        flow = self._flows[number] = Flow(self, sock, take)
        self._epoll.register(number, select.EPOLLIN)
        return flow

    def leave(self, number: int) -> None:
        """Wait for this socket no more, which is still open. What was told of it finds nothing, or the next."""
        del self._flows[number]
        self._epoll.unregister(number)

    def tell(self, task: trio.lowlevel.Task) -> None:
        """From the thread: a task's flow is over."""
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(trio.lowlevel.reschedule, task)

    def _run(self) -> None:
        while True:
            for number, _ in self._epoll.poll(-1, _MOST_AT_ONCE):
                if (flow := self._flows.get(number)) is not None:
                    flow.advance()
                elif number == self._is_over:
                    self._epoll.close()
                    os.close(self._is_over)
                    return

    async def until_over(self) -> None:
        """End the thread when the loop ends."""
        try:
            await trio.sleep_forever()
        finally:
            os.eventfd_write(self._is_over, 1)


_PUMP: Final[trio.lowlevel.RunVar[_Pump]] = trio.lowlevel.RunVar("pump")


def _pump() -> _Pump:
    try:
        return _PUMP.get()
    except LookupError:
        found = _Pump()
        _PUMP.set(found)
        trio.lowlevel.spawn_system_task(found.until_over, name="pump")
        return found


async def pump_each(
    sock: socket.socket,
    take: Callable[[bytes], bool],
    begun: Callable[[Flow | None], None],
) -> None:
    """Give what comes, nothing at the end, to `take`, until that says no.

    `begun` is told the flow, for whoever closes the socket to end it before, and None when it is over. Raises what
    `take` raises, `trio.BrokenResourceError`, and what the flow was ended with.
    """
    flow = _pump().enter(sock, take)
    begun(flow)

    def abort(_: object) -> trio.lowlevel.Abort:
        return trio.lowlevel.Abort.SUCCEEDED if flow.withdraw() else trio.lowlevel.Abort.FAILED

    try:
        await trio.lowlevel.wait_task_rescheduled(abort)
    finally:
        begun(None)
    if flow.error is not None:
        raise flow.error
