"""Drives one pure core: events in, one synced write for all that was promised, then the other effects.

All events that wait are handled in one round. After each event the core sees its own writes and timers; what a round
wants on disk is written in one batch per database; only then is anything sent or told. A failed write ends the daemon:
what was promised can't be taken back.

While the disk is quick, small batches are written on the spot: handing them to a thread and back costs more than they
take. Large ones, and all as soon as the disk gets slow, are written in a thread, so that the loop goes on.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import trio

from gossip.effects import CancelTimer, Persist, SetTimer, Store
from node.store import StagedStore

Event = TypeVar("Event")

_ROUND_EVENTS = 512
_QUICK_S = 0.002
_SMALL_WRITES = 128
_NEWEST_SHARE = 0.2


class CoreDriver(Generic[Event]):
    """The one task that touches a core.

    `stores` are written in their order. `carry_out` gets every effect that is neither a write nor a timer.
    """

    def __init__(
        self,
        handle: Callable[[int, Event], Sequence[object]],
        timer_event: Callable[[str], Event],
        carry_out: Callable[[object], None],
        stores: Mapping[Store, StagedStore],
    ) -> None:
        self._handle, self._timer_event, self._carry_out = handle, timer_event, carry_out
        self._stores = stores
        self._queue: deque[Event | trio.Event] = deque()
        self._sleeper: trio.lowlevel.Task | None = None
        """The task of `run` while it waits for something to do."""
        self._held_back = trio.lowlevel.ParkingLot()
        self._deadlines: dict[str, float] = {}
        self._write_s = 0.0
        """How long a batch takes, a moving average."""
        self.syncs = 0

    @property
    def waiting(self) -> int:
        """How many events wait for the core."""
        return len(self._queue)

    def post(self, event: Event) -> None:
        """Queue an event. Whoever posts what peers send bounds it by `waiting`."""
        self._queue.append(event)
        self._wake()

    def _wake(self) -> None:
        if self._sleeper is not None:
            trio.lowlevel.reschedule(self._sleeper)
            self._sleeper = None

    def post_joined(self, event: Event, join: Callable[[Event, Event], Event | None]) -> None:
        """Queue an event as a part of the one that waits last, if `join` makes one of the two."""
        last = self._queue[-1] if self._queue else None
        joined = None if last is None or isinstance(last, trio.Event) else join(last, event)
        if joined is None:
            self.post(event)
        else:
            self._queue[-1] = joined

    async def room(self, most: int) -> None:
        """Return when no more than so many events wait: for whoever would rather hold its peers back."""
        while len(self._queue) > most:
            await self._held_back.park()

    async def caught_up(self) -> None:
        """Return when all that was posted before is handled, on disk, and carried out."""
        caught_up = trio.Event()
        self._queue.append(caught_up)
        self._wake()
        await caught_up.wait()

    async def run(self) -> None:
        """Serve until cancelled. Raises `StoreError` when a write fails.

        One scope serves for many sleeps, until a timer ends one: making one for each costs as much as a message. Its
        deadline is there only while this sleeps, so nothing else is ever cancelled by it.
        """
        while True:
            with trio.CancelScope() as alarm:
                while await self._is_woken(alarm):
                    await self._serve_round()
            await self._serve_round()

    async def _serve_round(self) -> None:
        touched: set[Store] = set()
        to_tell: list[object] = []
        for event in self._round():
            if isinstance(event, trio.Event):
                to_tell.append(event)
                continue
            for effect in self._handle(now_ms(), event):
                self._take_in(effect, touched, to_tell)
        self._held_back.unpark_all()
        await self._write(touched)
        for one in to_tell:
            if isinstance(one, trio.Event):
                one.set()
            else:
                self._carry_out(one)

    async def _is_woken(self, alarm: trio.CancelScope) -> bool:
        """Let others run, or sleep until there is something to do. False: a timer has rung, the scope is used up."""
        if self._queue:
            await trio.lowlevel.checkpoint()
            return True
        alarm.deadline = min(self._deadlines.values(), default=math.inf)
        self._sleeper = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._stop_sleeping)
        alarm.deadline = math.inf
        return not alarm.cancel_called

    def _stop_sleeping(self, _: object) -> trio.lowlevel.Abort:
        self._sleeper = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _round(self) -> Iterator[Event | trio.Event]:
        """Timers that are due, earliest first, then what waits.

        An event that waits behind a due timer can't cancel it, but a timer before it can. Every name fires at most once
        in a round, so that a core that sets a timer to zero doesn't hold up the rest.
        """
        now = trio.current_time()
        due = sorted((at, name) for name, at in self._deadlines.items() if at <= now)
        for _, name in due:
            if self._deadlines.get(name, math.inf) <= now:
                del self._deadlines[name]
                yield self._timer_event(name)
        for _ in range(min(len(self._queue), _ROUND_EVENTS)):
            yield self._queue.popleft()

    def _take_in(self, effect: object, touched: set[Store], to_tell: list[object]) -> None:
        """Writes and timers are seen by the next event; everything else waits for the disk."""
        match effect:
            case Persist():
                self._stores[effect.store].stage(effect.writes)
                if not effect.lazy:
                    touched.add(effect.store)
            case SetTimer():
                self._deadlines[effect.name] = trio.current_time() + effect.delay_ms / 1000
            case CancelTimer():
                self._deadlines.pop(effect.name, None)
            case _:
                to_tell.append(effect)

    async def _write(self, touched: set[Store]) -> None:
        stores = [store for name, store in self._stores.items() if name in touched]
        if not stores:
            return
        self.syncs += len(stores)
        if self._write_s < _QUICK_S and sum(one.staged for one in stores) <= _SMALL_WRITES:
            self._flush(stores)
        else:
            await trio.to_thread.run_sync(self._flush, stores)
        for store in stores:
            store.settle()

    def _flush(self, stores: list[StagedStore]) -> None:
        began = time.perf_counter()
        for store in stores:
            store.flush()
        self._write_s += _NEWEST_SHARE * (time.perf_counter() - began - self._write_s)


def now_ms() -> int:
    """Unix time in milliseconds, as this machine's clock shows it."""
    return time.time_ns() // 1_000_000
