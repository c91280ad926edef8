"""Drives one pure core: events in, one synced write for all that a turn promises, then the effects.

All that waits is handed to the core in one turn; what the turn wants on disk is written in one batch per database, in
a thread, so that the loop goes on; only then is anything sent or told. A failed write ends the daemon: what was
promised can't be taken back.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

import trio

from gossip.effects import CancelTimer, Persist, SetTimer, Store
from node.store import StagedStore

Event = TypeVar("Event")

_TURN_EVENTS = 512


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
        self._wake = trio.Event()
        self._deadlines: dict[str, float] = {}
        self.syncs = 0

    @property
    def waiting(self) -> int:
        """How many events wait for the core."""
        return len(self._queue)

    def post(self, event: Event) -> None:
        """Queue an event. Whoever posts what peers send bounds it by `waiting`."""
        self._queue.append(event)
        self._wake.set()

    async def caught_up(self) -> None:
        """Return when all that was posted before is handled, on disk, and carried out."""
        caught_up = trio.Event()
        self._queue.append(caught_up)
        self._wake.set()
        await caught_up.wait()

    async def run(self) -> None:
        """Serve until cancelled. Raises `StoreError` when a write fails."""
        while True:
            await self._sleep()
            effects: list[object] = []
            reached: list[trio.Event] = []
            for event in self._take_turn():
                if isinstance(event, trio.Event):
                    reached.append(event)
                else:
                    effects += self._handle(now_ms(), event)
            await self._write(effects)
            for effect in effects:
                self._apply(effect)
            for one in reached:
                one.set()
            await trio.lowlevel.checkpoint()

    async def _sleep(self) -> None:
        if self._queue:
            return
        self._wake = trio.Event()
        with trio.move_on_at(min(self._deadlines.values(), default=math.inf)):
            await self._wake.wait()

    def _take_turn(self) -> list[Event | trio.Event]:
        """Timers that are due, then what waits; a timer can't be cancelled by an event behind it."""
        now = trio.current_time()
        due = [name for name, at in self._deadlines.items() if at <= now]
        events: list[Event | trio.Event] = []
        for name in due:
            del self._deadlines[name]
            events.append(self._timer_event(name))
        while self._queue and len(events) < _TURN_EVENTS:
            events.append(self._queue.popleft())
        return events

    async def _write(self, effects: list[object]) -> None:
        touched = set()
        for effect in effects:
            if isinstance(effect, Persist):
                self._stores[effect.store].stage(effect.writes)
                touched.add(effect.store)
        stores = [store for name, store in self._stores.items() if name in touched]
        if not stores:
            return
        self.syncs += len(stores)
        await trio.to_thread.run_sync(_flush, stores)
        for store in stores:
            store.settle()

    def _apply(self, effect: object) -> None:
        match effect:
            case Persist():
                pass
            case SetTimer():
                self._deadlines[effect.name] = trio.current_time() + effect.delay_ms / 1000
            case CancelTimer():
                self._deadlines.pop(effect.name, None)
            case _:
                self._carry_out(effect)


def _flush(stores: list[StagedStore]) -> None:
    for store in stores:
        store.flush()


def now_ms() -> int:
    """Unix time in milliseconds, as this machine's clock shows it."""
    return time.time_ns() // 1_000_000
