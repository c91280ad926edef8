"""What the driver of a core promises, with a real database and a clock that only moves when all wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gossip.effects import CancelTimer, Notify, Persist, SetTimer, Store, Write
from node.driver import CoreDriver
from node.storage.store import LevelStore, StagedStore, StoreError, StoreFault

Core = Callable[[str], list[object]]


class Disk(LevelStore):
    """A database that notes its batches, and fails on demand."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, create=True)
        self.batches: list[tuple[Write, ...]] = []
        self.fails = False

    def write(self, writes: Iterable[Write], *, sync: bool = True) -> None:
        if self.fails:
            raise StoreError(StoreFault.FAILED, "the disk is full")
        assert sync
        batch = tuple(writes)
        super().write(batch, sync=sync)
        self.batches.append(batch)


class Rig:
    """A driver around a core that is one function; timers come to it as events `!NAME`."""

    def __init__(self, tmp_path: Path, core: Core) -> None:
        self.disk = Disk(tmp_path / "tasks")
        self.store = StagedStore(self.disk)
        self.told: list[object] = []
        self.seen: list[tuple[float, str]] = []
        self._core = core
        self.driver: CoreDriver[str] = CoreDriver(
            self.handle, "!{}".format, self.carry_out, {Store.TASKS: self.store}
        )

    def handle(self, now_ms: int, event: str) -> list[object]:
        assert now_ms > 0
        self.seen.append((trio.current_time(), event))
        return self._core(event)

    def carry_out(self, effect: object) -> None:
        self.told.append(effect)


def persist(key: bytes, value: bytes | None) -> Persist:
    return Persist(Store.TASKS, ((key, value),))


def events_of(rig: Rig) -> list[str]:
    return [event for _, event in rig.seen]


async def test_nothing_is_told_before_it_is_on_disk(tmp_path: Path) -> None:
    def core(event: str) -> list[object]:
        return [Notify("before"), persist(b"key", b"value"), Notify("after")]

    rig = Rig(tmp_path, core)
    on_disk: list[bytes | None] = []

    def carry_out(effect: object) -> None:
        on_disk.append(rig.disk.get(b"key"))
        rig.told.append(effect)

    rig.driver = CoreDriver(rig.handle, "!{}".format, carry_out, {Store.TASKS: rig.store})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.driver.run)
        rig.driver.post("go")
        await rig.driver.caught_up()
        nursery.cancel_scope.cancel()
    assert rig.told == [Notify("before"), Notify("after")]
    assert on_disk == [b"value", b"value"]
    rig.disk.close()


async def test_all_that_waits_is_written_in_one_batch(tmp_path: Path) -> None:
    rig = Rig(
        tmp_path, lambda event: [persist(event.encode(), b"1"), persist(b"last", event.encode())]
    )
    for event in ("a", "b", "c"):
        rig.driver.post(event)
    assert rig.driver.waiting == 3
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.driver.run)
        await rig.driver.caught_up()
        assert rig.driver.waiting == 0
        nursery.cancel_scope.cancel()
    assert [dict(batch) for batch in rig.disk.batches] == [
        {b"a": b"1", b"b": b"1", b"c": b"1", b"last": b"c"}
    ]
    assert rig.driver.syncs == 1
    rig.disk.close()


async def test_a_core_sees_its_own_writes_at_its_next_event(tmp_path: Path) -> None:
    read: list[bytes | None] = []

    def core(event: str) -> list[object]:
        if event == "write":
            return [persist(b"key", b"value")]
        read.append(rig.store.get(b"key"))
        return []

    rig = Rig(tmp_path, core)
    rig.driver.post("write")
    rig.driver.post("read")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.driver.run)
        await rig.driver.caught_up()
        nursery.cancel_scope.cancel()
    assert read == [b"value"]
    assert len(rig.disk.batches) == 1
    rig.disk.close()


async def test_a_turn_without_writes_costs_no_sync(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda _: [Notify("only words")])
    rig.driver.post("go")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.driver.run)
        await rig.driver.caught_up()
        nursery.cancel_scope.cancel()
    assert (rig.disk.batches, rig.driver.syncs, rig.told) == ([], 0, [Notify("only words")])
    rig.disk.close()


async def test_a_lazy_write_is_seen_at_once_and_goes_to_disk_with_the_next_batch(
    tmp_path: Path,
) -> None:
    seen: list[bytes | None] = []

    def core(event: str) -> list[object]:
        seen.append(rig.store.get(b"lazy"))
        if event == "lazy":
            return [Persist(Store.TASKS, ((b"lazy", b"1"),), lazy=True), Notify(event)]
        return [persist(b"key", b"2")] if event == "urgent" else []

    rig = Rig(tmp_path, core)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.driver.run)
        for event in ("lazy", "look"):
            rig.driver.post(event)
            await rig.driver.caught_up()
        assert (rig.driver.syncs, rig.disk.batches, rig.told) == (0, [], [Notify("lazy")])
        rig.driver.post("urgent")
        await rig.driver.caught_up()
        nursery.cancel_scope.cancel()
    assert seen == [None, b"1", b"1"]
    assert [dict(batch) for batch in rig.disk.batches] == [{b"lazy": b"1", b"key": b"2"}]
    rig.disk.close()


async def test_while_the_disk_is_slow_the_loop_goes_on(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda event: [persist(event.encode(), b"1")])
    holds, slow_from = threading.Event(), 3
    sound = rig.disk.write

    def write(writes: Iterable[Write], *, sync: bool = True) -> None:
        if len(rig.disk.batches) >= slow_from:
            holds.wait(5)
        time.sleep(0.02)
        sound(writes, sync=sync)

    rig.disk.write = write  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.driver.run)
        for number in range(slow_from):
            rig.driver.post(f"{number}")
            await rig.driver.caught_up()
        rig.driver.post("held up")
        await wait_all_tasks_blocked()
        assert len(rig.disk.batches) == slow_from
        holds.set()
        await rig.driver.caught_up()
        nursery.cancel_scope.cancel()
    assert len(rig.disk.batches) == slow_from + 1
    rig.disk.close()


async def test_caught_up_returns_after_what_was_posted_before_it_and_not_sooner(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, lambda event: [persist(event.encode(), b"1"), Notify(event)])
    returned = trio.Event()

    async def wait_for_it() -> None:
        await rig.driver.caught_up()
        returned.set()

    async with trio.open_nursery() as nursery:
        rig.driver.post("first")
        nursery.start_soon(wait_for_it)
        await wait_all_tasks_blocked()
        assert not returned.is_set()
        nursery.start_soon(rig.driver.run)
        await rig.driver.caught_up()
        await wait_all_tasks_blocked()
        assert returned.is_set()
        assert rig.disk.get(b"first") == b"1"
        assert rig.told == [Notify("first")]
        nursery.cancel_scope.cancel()
    rig.disk.close()


async def timed(rig: Rig, clock: MockClock, *until_s: float) -> list[list[tuple[float, str]]]:
    """Run the driver and let time jump to each moment; the timers that fired in each."""
    fired: list[list[tuple[float, str]]] = []
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.driver.run)
        await rig.driver.caught_up()
        rig.seen.clear()
        for moment in until_s:
            clock.jump(start + moment - trio.current_time())
            await wait_all_tasks_blocked()
            await rig.driver.caught_up()
            fired.append([(round(at - start, 6), event) for at, event in rig.seen])
            rig.seen.clear()
        nursery.cancel_scope.cancel()
    rig.disk.close()
    return fired


async def test_a_timer_fires_once_when_it_is_due(tmp_path: Path, mock_clock: MockClock) -> None:
    rig = Rig(tmp_path, lambda event: [SetTimer("t", 5_000)] if event == "go" else [])
    rig.driver.post("go")
    assert await timed(rig, mock_clock, 4.9, 5, 20) == [[], [(5, "!t")], []]


async def test_a_cancelled_timer_does_not_fire(tmp_path: Path, mock_clock: MockClock) -> None:
    effects = {"go": [SetTimer("t", 5_000), CancelTimer("t"), CancelTimer("unknown")]}
    rig = Rig(tmp_path, lambda event: list(effects.get(event, [])))
    rig.driver.post("go")
    assert await timed(rig, mock_clock, 20) == [[]]


async def test_a_timer_that_is_set_again_replaces_itself(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    effects = {"go": [SetTimer("t", 5_000)], "later": [SetTimer("t", 9_000)]}
    rig = Rig(tmp_path, lambda event: list(effects.get(event, [])))
    rig.driver.post("go")
    rig.driver.post("later")
    assert await timed(rig, mock_clock, 8, 9, 20) == [[], [(9, "!t")], []]


@pytest.mark.parametrize("first_does", [CancelTimer("second"), SetTimer("second", 60_000)])
async def test_a_timer_that_is_due_too_can_still_be_taken_back(
    tmp_path: Path, mock_clock: MockClock, first_does: object
) -> None:
    effects: dict[str, list[object]] = {
        "go": [SetTimer("second", 3_000), SetTimer("first", 2_000)],
        "!first": [first_does],
    }
    rig = Rig(tmp_path, lambda event: list(effects.get(event, [])))
    rig.driver.post("go")
    assert await timed(rig, mock_clock, 10) == [[(10, "!first")]]


async def test_timers_fire_in_the_order_in_which_they_were_due(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    rig = Rig(
        tmp_path,
        lambda event: [SetTimer("b", 2_000), SetTimer("a", 3_000)] if event == "go" else [],
    )
    rig.driver.post("go")
    assert await timed(rig, mock_clock, 10) == [[(10, "!b"), (10, "!a")]]


async def test_a_timer_of_no_time_lets_events_pass(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda _: [SetTimer("now", 0)])
    rig.driver.post("go")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.driver.run)
            for event in ("a", "b"):
                rig.driver.post(event)
                await rig.driver.caught_up()
            nursery.cancel_scope.cancel()
    assert [event for event in events_of(rig) if event != "!now"] == ["go", "a", "b"]
    rig.disk.close()


async def test_a_failing_write_ends_the_run_and_nothing_is_told(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda event: [Notify(event), persist(b"key", b"1")])
    rig.disk.fails = True
    rig.driver.post("go")
    with pytest.raises(StoreError, match="the disk is full"):
        await rig.driver.run()
    assert rig.told == []
    rig.disk.close()


async def test_a_fault_of_the_core_ends_the_run_with_nothing_written_or_told(
    tmp_path: Path,
) -> None:
    def core(event: str) -> list[object]:
        assert event != "bad", "we have a bug"
        return [persist(b"key", b"1"), Notify(event)]

    rig = Rig(tmp_path, core)
    rig.driver.post("good")
    rig.driver.post("bad")
    with pytest.raises(AssertionError, match="we have a bug"):
        await rig.driver.run()
    assert (rig.told, rig.disk.batches) == ([], [])
    rig.disk.close()


async def test_a_flood_is_taken_in_rounds(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda event: [persist(event.encode(), b"1")])
    for number in range(1_200):
        rig.driver.post(f"{number}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.driver.run)
        await rig.driver.caught_up()
        nursery.cancel_scope.cancel()
    assert events_of(rig) == [f"{number}" for number in range(1_200)]
    assert len(rig.disk.batches) == 3
    rig.disk.close()


class Lanes:
    """A driver with a synced store and one that may be written ahead of it."""

    def __init__(self, tmp_path: Path, core: Core) -> None:
        self.order: list[str] = []
        self.held = threading.Event()
        self.held.set()
        self.disks = {store: Disk(tmp_path / store.value) for store in (Store.POOL, Store.CHAIN)}
        for store, disk in self.disks.items():
            disk.write = partial(self._noted, store, disk.write)  # type: ignore[method-assign]
        self.seen: list[str] = []
        self._core = core
        self.driver: CoreDriver[str] = CoreDriver(
            self._handle,
            "!{}".format,
            self._carry_out,
            {store: StagedStore(disk) for store, disk in self.disks.items()},
            ahead=Store.POOL,
        )

    def _handle(self, _: int, event: str) -> list[object]:
        self.seen.append(event)
        return self._core(event)

    def _noted(
        self, store: Store, write: Callable[..., None], writes: Iterable[Write], *, sync: bool
    ) -> None:
        batch = tuple(writes)
        if store is Store.CHAIN:
            assert self.held.wait(5)
        write(batch, sync=sync)
        self.order += [f"{store.value} {key.decode()} {value!r}" for key, value in batch]

    def _carry_out(self, effect: object) -> None:
        assert isinstance(effect, Notify)
        self.order.append(f"told {effect.what}")

    def close(self) -> None:
        for disk in self.disks.values():
            disk.close()


def never(_: str, __: str) -> str | None:
    return None


def block_or_offer(event: str) -> list[object]:
    """An offer is kept; a block takes it out again and is large enough to be written in a thread."""
    if event == "offer":
        return [Persist(Store.POOL, ((b"tx", b"1"),)), Notify("taken")]
    rows = tuple((b"%04d" % number, b"1") for number in range(3_000))
    taken_out = Persist(Store.POOL, ((b"tx", None),), lazy=True)
    return [taken_out, Persist(Store.CHAIN, rows), Notify("block")]


async def test_what_is_posted_ahead_is_written_and_told_while_a_round_waits_for_the_disk(
    tmp_path: Path,
) -> None:
    lanes = Lanes(tmp_path, block_or_offer)
    lanes.held.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lanes.driver.run)
        lanes.driver.post("block")
        await wait_all_tasks_blocked()
        assert (lanes.seen, lanes.order) == (["block"], [])
        lanes.driver.post_ahead("offer", never)
        await wait_all_tasks_blocked()
        assert lanes.order == ["pool tx b'1'", "told taken"]
        lanes.held.set()
        await lanes.driver.caught_up()
        nursery.cancel_scope.cancel()
    assert lanes.order[-1] == "told block"
    # The offer came later than what the block took out, and stays.
    assert lanes.disks[Store.POOL].get(b"tx") == b"1"
    lanes.close()


async def test_nothing_is_taken_out_of_the_store_ahead_before_the_round_is_on_disk(
    tmp_path: Path,
) -> None:
    lanes = Lanes(tmp_path, block_or_offer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lanes.driver.run)
        lanes.driver.post_ahead("offer", never)
        await wait_all_tasks_blocked()
        lanes.held.clear()
        lanes.driver.post("block")
        await wait_all_tasks_blocked()
        assert lanes.disks[Store.POOL].get(b"tx") == b"1"
        lanes.held.set()
        await lanes.driver.caught_up()
        nursery.cancel_scope.cancel()
    assert lanes.order[:2] == ["pool tx b'1'", "told taken"]
    assert lanes.order[-2:] == ["pool tx None", "told block"]
    lanes.close()


async def test_an_event_posted_ahead_joins_the_one_that_waits_last(tmp_path: Path) -> None:
    lanes = Lanes(tmp_path, lambda _: [])

    def join(before: str, event: str) -> str | None:
        return before + event if len(before) + len(event) <= 4 else None

    for event in ("s1", "s2", "s3"):
        lanes.driver.post_ahead(event, join)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lanes.driver.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert lanes.seen == ["s1s2", "s3"]
    lanes.close()


async def test_a_timer_set_ahead_wakes_the_rounds(tmp_path: Path, mock_clock: MockClock) -> None:
    lanes = Lanes(tmp_path, lambda event: [SetTimer("t", 5_000)] if event == "go" else [])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lanes.driver.run)
        await wait_all_tasks_blocked()
        lanes.driver.post_ahead("go", never)
        await wait_all_tasks_blocked()
        mock_clock.jump(5)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert lanes.seen == ["go", "!t"]
    lanes.close()


@pytest.mark.parametrize(("store", "untold"), [(Store.POOL, "taken"), (Store.CHAIN, "block")])
async def test_a_failing_write_of_either_lane_ends_both(
    tmp_path: Path, store: Store, untold: str
) -> None:
    lanes = Lanes(tmp_path, block_or_offer)
    lanes.disks[store].fails = True
    with pytest.RaisesGroup(
        pytest.RaisesExc(StoreError, match="the disk is full"), flatten_subgroups=True
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lanes.driver.run)
            lanes.driver.post_ahead("offer", never)
            lanes.driver.post("block")
    assert f"told {untold}" not in lanes.order
    lanes.close()


async def test_what_needs_more_than_the_store_ahead_is_not_handled_ahead(tmp_path: Path) -> None:
    lanes = Lanes(tmp_path, block_or_offer)
    with pytest.RaisesGroup(
        pytest.RaisesExc(AssertionError, match="promises what"), flatten_subgroups=True
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lanes.driver.run)
            lanes.driver.post_ahead("block", never)
    assert lanes.order == []
    lanes.close()
