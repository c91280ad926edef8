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
_ALONE_AFTER: Final = 2
"""Pieces that a flow must get as the only one, before the thread waits for it alone: two threads change places with
every new flow else."""


class Flow:
    """What comes to one socket, until `take` says no."""

    def __init__(self, pump: _Pump, sock: socket.socket, take: Callable[[bytes], bool]) -> None:
        self._pump, self._sock, self._take = pump, sock, take
        self.number = sock.fileno()
        self.over = pump.take_event()
        """An eventfd that is readable once when a thread, or `end`, has made an end: it wakes the task in one turn of
        the loop, where `run_sync_soon` takes two."""
        self.alone_for = 0
        """How many times in a row something came when there was no other flow."""
        self._turn = threading.Lock()
        self._is_over = False
        self._is_alone = False
        """Whether the thread waits in the socket itself, with the turn in its hand."""
        self._is_withdrawn = False
        self.error: Exception | None = None

    def advance(self) -> None:
        """In the thread: something has come."""
        with self._turn:
            if self._is_over or self._goes_on():
                return
            self._leave()
        self.tell()

    def advance_alone(self) -> bool:
        """In the thread: wait for what comes, as long as there is no other flow; whether it is over by itself."""
        with self._turn:
            if self._is_over:
                return False
            self._is_alone = True
            self._sock.setblocking(True)  # noqa: FBT003 - the socket's own interface
            goes_on = self._is_withdrawn or self._pump.is_led or self._goes_on()
            self._sock.setblocking(False)  # noqa: FBT003 - as above
            self._is_alone = False
            if goes_on:
                return False
            self._leave()
        return True

    def _goes_on(self) -> bool:
        """Take what has come; alone also what comes from then on, until there is another flow."""
        receive, take = self._sock.recv, self._take
        try:
            while True:
                received = receive(READ_BYTES)
                if self._is_withdrawn:
                    # Who withdraws a flow that is alone makes the socket give something.
                    return True
                if not (take(received) and received):
                    return False
                if not self._is_alone or self._pump.is_led:
                    return True
        except BlockingIOError:
            return True
        except OSError as error:
            self.error = trio.BrokenResourceError()
            self.error.__cause__ = error
        except Exception as error:  # noqa: BLE001 - the task that waits shall have it
            self.error = error
        return False

    def withdraw(self) -> bool:
        """Nothing is taken from now on; False if it was over before, and the task will hear of it.

        The socket may be of no more use for receiving.
        """
        self._is_withdrawn = True
        if self._is_alone:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RD)
        with self._turn:
            if self._is_over:
                return False
            self._leave()
        return True

    def end(self, error: Exception) -> None:
        """End it for the task that waits; nothing if it is over."""
        if self.withdraw():
            self.error = error
            self.tell()

    def tell(self) -> None:
        """The task that waits shall see that it is over; once, by whoever made the end."""
        os.eventfd_write(self.over, 1)

    async def until_over(self) -> None:
        """Wait for the end; who is cancelled here makes one himself."""
        try:
            await trio.lowlevel.wait_readable(self.over)
        except trio.Cancelled:
            if not self.withdraw():
                # Who has made the end may be just about to tell it.
                os.eventfd_read(self.over)
            raise
        else:
            os.eventfd_read(self.over)
        finally:
            self._pump.give_back(self.over)

    def _leave(self) -> None:
        self._is_over = True
        self._pump.leave(self)


class _Pump:
    """The thread of one run of Trio's loop.

    It waits for all flows at once, one system call more for each piece. A flow that is the only one for a
    while it waits for in that flow's socket. Another flow that comes then gets a thread that leads from now on; the
    first one ends as soon as it sees that.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._roles = threading.Lock()
        """For what follows. It may be taken with a flow's turn in hand, never the other way round."""
        self._flows: dict[int, Flow] = {}
        self._alone: Flow | None = None
        """What is waited for in its own socket, and nowhere else."""
        self.is_led = True
        """Whether a thread waits for all flows."""
        self._is_over = os.eventfd(0, os.EFD_CLOEXEC)
        self._epoll.register(self._is_over, select.EPOLLIN)
        self._events: list[int] = []
        """Those for which no flow has a use now."""
        self._start()

    def take_event(self) -> int:
        """An eventfd, to be given back with nothing in it."""
        return self._events.pop() if self._events else os.eventfd(0, os.EFD_CLOEXEC)

    def give_back(self, event: int) -> None:
        """For the next flow."""
        self._events.append(event)

    def _start(self) -> None:
        threading.Thread(target=self._run, name="pump", daemon=True).start()

    def enter(self, sock: socket.socket, take: Callable[[bytes], bool]) -> Flow:
        """From now on what comes is taken in the thread, also while it waits for others."""
        flow = Flow(self, sock, take)
        with self._roles:
            self._flows[flow.number] = flow
            self._epoll.register(flow.number, select.EPOLLIN)
            if not self.is_led:
                self.is_led = True
                self._start()
        return flow

    def leave(self, flow: Flow) -> None:
        """Wait for this socket no more, which is still open. What was told of it finds nothing, or the next."""
        with self._roles:
            del self._flows[flow.number]
            if self._alone is not flow:
                self._epoll.unregister(flow.number)

    def _run(self) -> None:
        leads = True
        while leads:
            flow: Flow | None = None
            for number, _ in self._epoll.poll(-1, _MOST_AT_ONCE):
                if (flow := self._flows.get(number)) is not None:
                    flow.advance()
                elif number == self._is_over:
                    self._epoll.close()
                    os.close(self._is_over)
                    return
            if flow is not None:
                flow.alone_for = flow.alone_for + 1 if len(self._flows) == 1 else 0
                if flow.alone_for >= _ALONE_AFTER:
                    leads = self._follow(flow)

    def _follow(self, flow: Flow) -> bool:
        """Wait for this flow only, until it is over or there is another; whether the thread leads then."""
        with self._roles:
            if self._flows != {flow.number: flow}:
                return True
            self._epoll.unregister(flow.number)
            self._alone, self.is_led = flow, False
        is_over = flow.advance_alone()
        with self._roles:
            self._alone = None
            leads, self.is_led = not self.is_led, True
            if self._flows.get(flow.number) is flow:
                flow.alone_for = 0
                self._epoll.register(flow.number, select.EPOLLIN)
        if is_over:
            flow.tell()
        return leads

    async def until_over(self) -> None:
        """End the thread when the loop ends."""
        try:
            await trio.sleep_forever()
        finally:
            os.eventfd_write(self._is_over, 1)
            # Trio ends what the system does after all other tasks: no flow is left that has one.
            for event in self._events:
                os.close(event)


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
    try:
        await flow.until_over()
    finally:
        begun(None)
    if flow.error is not None:
        raise flow.error
