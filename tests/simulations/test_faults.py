"""Each fault by itself: what it does to messages, disks, clocks and processes, and that it is over when it is over."""

# ruff: noqa: ANN401 - a world takes messages of any kind

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.effects import Broadcast, Notify, Persist, SetTimer
from simulations.guest import Message, Place, Received, Started, TimerFired
from simulations.library import named, names
from simulations.running import invariant_of, run_any
from simulations.worlds.clock import Clock
from simulations.worlds.disk import CorruptionError, MemoryStore
from simulations.worlds.draws import Draws
from simulations.worlds.faults import (
    BitRot,
    ClockStep,
    Clog,
    Crash,
    Cut,
    FalseSync,
    Fault,
    FullDisk,
    Lag,
    Loss,
    SlowCpu,
    SlowDisk,
    Throttle,
)
from simulations.worlds.hooks import Vocabulary
from simulations.worlds.network import Wires
from simulations.worlds.process import Process
from simulations.worlds.setting import Disk, Network, Setting
from simulations.worlds.trace import Trace, Transition
from simulations.worlds.world import World

LUCK = bytes(range(16))


class Plain(Setting, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nodes and nothing else."""

    count: int = 3

    @property
    def nodes(self) -> int:
        return self.count

    @property
    def bound_ms(self) -> int:
        return 5_000


def wires(*faults: Fault, **network: Any) -> Wires:
    plain = {"latency_us": 500, "jitter_us": 0}
    return Wires(Plain(seed=1, faults=faults, network=Network(**(plain | network)), heal_ms=5_000))


# Networks


def test_a_cut_closes_one_link_and_leaves_the_way_round() -> None:
    one_way = wires(Cut(at_ms=0, until_ms=10, links=((0, 1),), one_way=True))
    assert one_way.deliveries(5_000, 0, 1, LUCK) == []
    assert one_way.deliveries(5_000, 1, 0, LUCK) == [500]
    both = wires(Cut(at_ms=0, until_ms=10, links=((0, 1),)))
    assert both.deliveries(5_000, 1, 0, LUCK) == []
    assert both.deliveries(5_000, 0, 2, LUCK) == both.deliveries(10_000, 0, 1, LUCK) == [500]


def test_lag_delays_only_those_it_names_while_it_lasts() -> None:
    net = wires(Lag(at_ms=0, until_ms=10, nodes=(2,), more_us=7_000))
    assert net.deliveries(0, 0, 1, LUCK) == [500]
    assert net.deliveries(0, 0, 2, LUCK) == net.deliveries(0, 2, 1, LUCK) == [7_500]
    assert net.deliveries(10_000, 0, 2, LUCK) == [500]


def test_loss_takes_its_share() -> None:
    net = wires(Loss(at_ms=0, until_ms=1_000, lost_ppm=300_000))
    draws = Draws(1)
    arrived = [net.deliveries(5, 0, 1, draws.raw(b"luck", b"%d" % at)) for at in range(2_000)]
    assert 500 < sum(not one for one in arrived) < 700


def test_what_a_throttled_node_sends_waits_in_line() -> None:
    net = wires(Throttle(node=0, at_ms=0, until_ms=4_000, bytes_per_s=1_000))
    arrivals = [net.deliveries(0, 0, 1, LUCK, 100)[0] for _ in range(3)]
    assert arrivals == [100_500, 200_500, 300_500]
    assert net.deliveries(0, 1, 0, LUCK, 100) == [500]


def test_a_clogged_link_holds_messages_and_loses_none() -> None:
    net = wires(Clog(at_ms=100, until_ms=1_100))
    links = [(one, other) for one in range(3) for other in range(3) if one != other]
    delays = {link: net.deliveries(600_000, *link, LUCK)[0] for link in links}
    held = {link: delay for link, delay in delays.items() if delay > 500}
    assert 0 < len(held) < len(links)
    assert len(set(held.values())) == len(held), "links open one by one"
    assert all(600_000 + delay <= 1_100_500 for delay in held.values())
    assert all(net.deliveries(1_100_000, *link, LUCK) == [500] for link in links)


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=2, max_size=20))
def test_a_link_that_keeps_its_order_never_overtakes(lucks: list[bytes]) -> None:
    net = wires(jitter_us=50_000, keeps_order=True, duplicate_ppm=300_000)
    arrivals = [
        at + delay for at, luck in enumerate(lucks) for delay in net.deliveries(at, 0, 1, luck)
    ]
    assert arrivals == sorted(arrivals)


@pytest.mark.parametrize(
    ("shape", "low", "high"), [("exponential", 900, 1_100), ("pareto", 700, 1_500)]
)
def test_delays_have_the_mean_they_are_given(shape: str, low: int, high: int) -> None:
    net = wires(latency_us=0, jitter_us=1_000, jitter_shape=shape)
    draws = Draws(3)
    delays = [net.deliveries(0, 0, 1, draws.raw(b"luck", b"%d" % at))[0] for at in range(4_000)]
    assert low < sum(delays) / len(delays) < high
    assert max(delays) > 5_000


# Disks


def test_a_crash_loses_the_latest_unsynced_batches_whole() -> None:
    store = MemoryStore()
    store.write(((b"a", b"1"), (b"b", b"1")))
    store.write(((b"a", b"2"), (b"b", None)), synced_us=100)
    store.write(((b"a", b"3"), (b"c", b"3")), synced_us=200)
    store.sync(100)
    assert store.unsynced == 1
    store.lose(1)
    assert store.scan(b"") == [(b"a", b"2")]


def test_a_lazy_batch_is_safe_once_another_is_synced() -> None:
    store = MemoryStore()
    store.write(((b"a", b"1"),), lazy=True)
    assert store.unsynced == 1
    store.write(((b"b", b"1"),), synced_us=50)
    store.sync(50)
    assert store.unsynced == 0


@given(st.dictionaries(st.binary(max_size=3), st.binary(min_size=1, max_size=4), min_size=1))
def test_rot_hurts_one_record_and_whoever_reads_it_is_told(pairs: dict[bytes, bytes]) -> None:
    store = MemoryStore()
    store.write(tuple(pairs.items()))
    key = store.rot(Draws(1), 0, unchecked=False)
    assert key in pairs
    with pytest.raises(CorruptionError):
        store.get(key)
    with pytest.raises(CorruptionError):
        store.scan(key)
    assert all(store.get(other) == value for other, value in pairs.items() if other != key)
    store.write(((key, b"new"),))
    assert store.get(key) == b"new"


# Clocks


def test_a_clock_steps_drifts_stops_and_is_set_right() -> None:
    clock = Clock(1_000, skew_ms=5, drift_ppm=0)
    assert clock.show_ms(10_000) == 1_015
    clock.step(-7)
    assert clock.show_ms(10_000) == 1_008
    clock.drift(10_000, 500_000)
    assert clock.show_ms(20_000) == 1_023
    assert clock.span_us(3_000) == 2_000
    clock.drift(20_000, None)
    clock.stop(30_000)
    assert clock.show_ms(90_000) == clock.show_ms(30_000)
    clock.go_on()
    clock.set_right(90_000)
    assert clock.show_ms(90_000) == 1_095


# Processes, in a world of their own


class Tick(Message):
    number: int


class Counting:
    """Writes a number every 100 ms, and tells the others once it is written."""

    def __init__(self, place: Place) -> None:
        self._disk, self._others = place.disk, [n for n in range(place.nodes) if n != place.number]
        self.heard: list[int] = []

    def handle(self, _now_ms: int, event: object) -> list[object]:
        match event:
            case Started():
                return [SetTimer("tick", 100)]
            case TimerFired():
                number = int(self._disk.get(b"n") or b"0") + 1
                written = Persist("disk", ((b"n", b"%d" % number),))  # type: ignore[arg-type]
                tell = Broadcast(tuple(self._others), Tick(number))  # type: ignore[arg-type]
                return [written, tell, Notify(number), SetTimer("tick", 100)]
            case Received(_, Tick(number)):
                self.heard.append(number)
            case _:
                pass
        return []


class CountingWorld(World):
    vocabulary = Vocabulary(Started, Received, TimerFired)

    def __init__(self, *faults: Fault, **fields: Any) -> None:
        self.lines: list[str] = []
        plain = {"network": Network(jitter_us=0)} | fields
        setting = Plain(seed=1, faults=faults, heal_ms=1_000, **plain)
        super().__init__(setting, Trace(lambda entry: self.lines.append(str(entry))))
        self.noted: list[tuple[int, int, int]] = []
        disk = setting.disk.sync_us
        self.populate(
            [
                Process(
                    number=n,
                    node=n,
                    address=n,
                    stores={"disk": MemoryStore()},
                    clock=self.clock_of(n),
                    sync_us=disk,
                    is_honest=n not in setting.damaged,
                )
                for n in range(3)
            ]
        )
        for process in self.processes:
            self.at(0, self.start, process)
        self.plan_faults()
        self.stop_at(1_000)
        self.result = self.run()

    def boot(self, process: Process) -> Counting:
        return Counting(Place(process.node, 3, process.stores["disk"], {}))

    def encode(self, message: Any) -> bytes:
        return b"%d" % message.number

    def decode(self, data: bytes) -> object:
        return Tick(int(data))

    def on_notify(self, process: Process, what: Any) -> None:
        self.noted.append((self.now_us // 1000, process.node, what))

    def counted(self, node: int) -> int:
        return int(self.processes[node].stores["disk"].get(b"n") or b"0")

    def when(self, node: int) -> list[int]:
        return [at for at, one, _ in self.noted if one == node]


def test_without_faults_everybody_counts() -> None:
    world = CountingWorld()
    assert [world.counted(node) for node in range(3)] == [9, 9, 9]
    assert world.result.violation is None


def test_a_slow_cpu_takes_events_one_after_the_other() -> None:
    world = CountingWorld(SlowCpu(node=1, at_ms=0, until_ms=900, turn_us=60_000))
    assert world.counted(0) == 9
    assert world.counted(1) < 7


def test_nothing_is_said_before_a_slow_disk_has_synced() -> None:
    world = CountingWorld(SlowDisk(node=1, at_ms=0, until_ms=900, sync_us=30_000))
    assert world.when(0)[0] == 100
    assert world.when(1)[0] == 130


def test_what_is_written_while_a_sync_is_under_way_waits_for_the_next() -> None:
    world = CountingWorld(disk=Disk(sync_us=250_000))
    assert world.when(0)[:3] == [350, 600, 600]


def test_a_full_disk_ends_the_process_until_there_is_room() -> None:
    world = CountingWorld(FullDisk(node=2, at_ms=350, until_ms=500))
    assert world.result.marks["write failed"] == 1
    assert world.counted(2) == 3
    assert any("restarted" in line for line in world.lines) is False
    assert world.counted(0) == 9


def test_a_false_sync_forgets_when_the_process_dies() -> None:
    world = CountingWorld(
        FalseSync(node=0, at_ms=0, until_ms=900), Crash(node=0, at_ms=650, down_ms=10)
    )
    assert world.result.marks["unsynced batches lost"] == 1
    assert world.counted(0) < 9
    assert 0 not in {node for _, node, _ in world.noted}, "nothing is asked of such a node"


def test_a_rotten_disk_is_replaced_once_it_is_read() -> None:
    world = CountingWorld(BitRot(node=1, at_ms=350, down_ms=10))
    assert world.result.marks["damaged disk replaced"] == 1
    assert world.result.violation is None
    assert world.counted(0) == 9


def test_a_step_of_the_clock_moves_no_timer() -> None:
    world = CountingWorld(ClockStep(node=0, at_ms=50, by_ms=-5_000))
    assert world.when(0) == world.when(1)
    assert Transition(50_000, "n0", "clock_step", "by_ms=-5000").detail in "\n".join(world.lines)


# The library


def test_the_library_is_large_and_each_scenario_says_why_it_exists() -> None:
    assert len(names()) >= 25
    for name in names():
        scenario = named(name)
        assert scenario.name == name
        assert len(scenario.why) > 40
    kinds = {type(fault) for name in names() for fault in named(name).faults}
    assert len(kinds) >= 15, "nearly every fault has a scenario that shows it"


@pytest.mark.parametrize("name", [name for name in names() if name != "thousand-members"])
def test_a_scenario_of_the_library_holds_or_breaks_as_it_says(name: str) -> None:
    broken = {"two-phase-commit": "atomicity"}
    assert invariant_of(run_any(named(name)).violation) == broken.get(name, "")
