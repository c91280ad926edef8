"""Drives one pure core: events in, one synced write for all that was promised, then the other effects.

All events that wait are handled in one round. After each event the core sees its own writes and timers; what a round
wants on disk is written in one batch per database; only then is anything sent or told. A failed write ends the daemon:
what was promised can't be taken back.

A batch is written on the spot while the disk is quick, else in a thread (`storage/writer.py`).

Some events promise no more than what one store holds that needs no sync. These may be posted ahead: they are handled,
written and told in a lane of their own, also while a round waits for the disk. What a round writes to that store goes
to disk behind the rest of the round, so that nothing is taken out of it that is not yet on disk elsewhere.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

import trio

from gossip.effects import CancelTimer, Persist, SetTimer, Store
from node.storage.store import StagedStore
from node.storage.writer import Writer

Event = TypeVar("Event")

_ROUND_EVENTS = 512


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
        ahead: Store | None = None,
        *,
        together: AbstractContextManager[None] | None = None,
    ) -> None:
        """`ahead` is the store that events posted ahead may write; it is not synced.

        What a round asks to be carried out is carried out inside `together`.
        """
        self._handle, self._timer_event, self._carry_out = handle, timer_event, carry_out
        self._stores = {name: store for name, store in stores.items() if name is not ahead}
        self._lane: _Lane[Event] | None = None if ahead is None else _Lane(ahead, stores[ahead])
        self._together = nullcontext() if together is None else together
        self._queue: deque[Event | trio.Event] = deque()
        self._sleeper: trio.lowlevel.Task | None = None
        """The task of `run` while it waits for something to do."""
        self._held_back = trio.lowlevel.ParkingLot()
        self._deadlines: dict[str, float] = {}
        self._writer = Writer()
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

    def post_ahead(self, event: Event, join: Callable[[Event, Event], Event | None]) -> None:
        """Queue an event for the lane, as a part of the one that waits there last if `join` makes one of the two."""
        assert self._lane is not None
        waiting = self._lane.queue
        joined = join(waiting[-1], event) if waiting else None
        if joined is None:
            waiting.append(event)
        else:
            waiting[-1] = joined
        self._lane.wake.set()

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
        """Serve until cancelled. Raises `StoreError` when a write fails, in a group if there is a lane."""
        if self._lane is None:
            await self._run_rounds()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_lane, self._lane)
            await self._run_rounds()

    async def _run_rounds(self) -> None:
        """Round after round.

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
        self._tell(to_tell)

    def _tell(self, effects: list[object]) -> None:
        if not effects:
            return
        with self._together:
            for one in effects:
                if isinstance(one, trio.Event):
                    one.set()
                else:
                    self._carry_out(one)

    async def _run_lane(self, lane: _Lane[Event]) -> None:
        while True:
            while not lane.queue:
                lane.wake = trio.Event()
                await lane.wake.wait()
            to_tell: list[object] = []
            touched: set[Store] = set()
            for effect in self._handle(now_ms(), lane.queue.popleft()):
                if isinstance(effect, Persist) and not effect.lazy:
                    assert effect.store is lane.name, "it promises what the lane does not write"
                    lane.store.stage_first(effect.writes)
                    touched.add(lane.name)
                else:
                    self._take_in(effect, touched, to_tell)
            if touched:
                async with lane.turn:
                    lane.store.take_first()
                    await lane.put()
            self._tell(to_tell)
            await trio.lowlevel.checkpoint()

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
                self._store(effect.store).stage(effect.writes)
                if not effect.lazy:
                    touched.add(effect.store)
            case SetTimer():
                self._deadlines[effect.name] = trio.current_time() + effect.delay_ms / 1000
                self._wake()
            case CancelTimer():
                self._deadlines.pop(effect.name, None)
            case _:
                to_tell.append(effect)

    def _store(self, name: Store) -> StagedStore:
        if self._lane is not None and name is self._lane.name:
            return self._lane.store
        return self._stores[name]

    async def _write(self, touched: set[Store]) -> None:
        if not touched:
            return
        stores = [store for name, store in self._stores.items() if name in touched]
        if stores:
            await self._sync(stores)
        if self._lane is not None and self._lane.store.staged:
            async with self._lane.turn:
                self._lane.store.take()
                await self._lane.put()

    async def _sync(self, stores: list[StagedStore]) -> None:
        self.syncs += len(stores)
        await self._writer.put(sum(one.staged for one in stores), [one.flush for one in stores])
        for store in stores:
            store.settle()


class _Lane(Generic[Event]):
    """What is handled ahead of the rounds. Its store is written in turns, the lane's and the rounds'."""

    def __init__(self, name: Store, store: StagedStore) -> None:
        self.name, self.store = name, store
        self.queue: deque[Event] = deque()
        self.wake = trio.Event()
        self.turn = trio.Lock()
        self._writer = Writer()

    async def put(self) -> None:
        """Write what was taken."""
        await self._writer.put(self.store.flying, [self.store.write_taken])
        self.store.settle()


def now_ms() -> int:
    """Unix time in milliseconds, as this machine's clock shows it."""
    return time.time_ns() // 1_000_000
