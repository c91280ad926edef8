"""What lasts: memory over many minutes of load, and what is left of throughput when a validator is killed.

The same clients as in `consensus`; here they sign as they go, since a long run's transactions would not fit in memory.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import trio

from consensus.genesis import Genesis
from node.bench.consensus import Work, fund, members_of
from node.bench.limits import resident_mib
from node.bench.load import Load, LoadError, Measured
from node.bench.wallets import Wallets
from node.demo.cluster import Cluster, Member
from node.demo.together import begin

_TERM_BLOCKS = 16
_TERMS = 4
_SLACK_BLOCKS = 8
_SAMPLES = 20
_WARM_S = 1.0
_MOST_AFTER_S = 120.0
_NEXT_GAP_S = 5.0
_MONEY = 10_000_000


@dataclass(frozen=True, slots=True)
class KillFigures:
    """Throughput before and after the primary was killed with `kill -9`.

    `recovery_ms` is how long nothing became final around the kill. `tps_after` is measured from the first final block
    after that on, over at least four terms of leaders, the killed one's among them, each of which costs a change of
    views again; `tps_from_kill` has the first gap in it, too.
    """

    nodes: int
    clients: int
    tps_before: float
    tps_after: float
    tps_from_kill: float
    ratio: float
    recovery_ms: float
    seconds_after: float
    blocks_after: int
    longest_later_gap_ms: float


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """Memory of each daemon in MiB, at equal spaces of time; the first sample after a twentieth of it.

    `resident_mib` has the files in it that are mapped, LevelDB's tables among them, which the system takes back when it
    likes; `own_mib` has not. Growth is the mean of the last quarter of the samples less that of the second.
    """

    nodes: int
    clients: int
    minutes: float
    transactions: int
    tps: float
    resident_mib: dict[str, list[float]]
    growth_mib: dict[str, float]
    own_mib: dict[str, list[float]]
    own_growth_mib: dict[str, float]


def kill(nodes: int, work: Work, say: Callable[[str], None]) -> KillFigures:
    """Load, `kill -9` of the primary, load. Raises `NodeError`."""
    with _Town(nodes, work, say) as town:
        return town.kill()


def soak(nodes: int, work: Work, minutes: float, say: Callable[[str], None]) -> MemoryFigures:
    """Load for so long, and look at the memory of the daemons. Raises `NodeError`."""
    with _Town(nodes, work, say) as town:
        return town.soak(minutes)


class _Town:
    """A federation of daemons with clients that have money."""

    def __init__(self, nodes: int, work: Work, say: Callable[[str], None]) -> None:
        self._nodes, self._work, self._say = nodes, work, say
        self._folder = Path(tempfile.mkdtemp(prefix="bizra-bench-"))
        self._cluster = Cluster(self._folder)

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin(self) -> None:
        self._say(f"starting {self._nodes} daemons")
        self._founder = begin(self._cluster, self._nodes, self._say)
        genesis = Genesis.load(self._founder.home.genesis.read_bytes())
        payee = bytes.fromhex(self._founder.node_id)
        wallets = Wallets(genesis.federation_id, self._work.clients, payee)
        fund(self._founder, wallets, _MONEY // self._work.clients)
        self._load = Load(
            [member.client.url for member in self._cluster.members],
            wallets.endless(self._work.payload_bytes),
            members_of(self._founder.client.validators()),
            genesis.federation_id,
        )

    def __exit__(self, *_: object) -> None:
        self._cluster.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, meanwhile: Callable[[], Awaitable[None]]) -> Measured:
        first = self._founder.client.status().height + 1
        trio.run(self._load.run, 0.0, first, meanwhile)
        if not self._load.measured.finals:
            raise LoadError("no transaction became final")
        return self._load.measured

    def kill(self) -> KillFigures:
        killed_at = 0.0

        async def meanwhile() -> None:
            nonlocal killed_at
            self._say(f"{self._work.clients} clients for {self._work.seconds:g} s")
            await trio.sleep(self._work.seconds)
            victim = await self._primary()
            killed_at = time.perf_counter()
            self._cluster.kill(victim)
            self._load.without(victim.client.url)
            self._say(f"killed {victim.name}, the primary")
            with trio.move_on_after(_MOST_AFTER_S):
                await trio.sleep(self._work.seconds)
                while (
                    len(_after(self._load.measured, killed_at))
                    < _TERMS * _TERM_BLOCKS + _SLACK_BLOCKS
                ):
                    await self._load.next_block()

        measured = self._run(meanwhile)
        before = [one for one in measured.finals if measured.began + _WARM_S <= one[0] < killed_at]
        after = _after(measured, killed_at)
        if not before or not after:
            raise LoadError("nothing became final before the kill, or after it")
        before_s = killed_at - measured.began - _WARM_S
        gaps = [(first, later - first) for (first, _), (later, _) in pairwise(measured.finals)]
        near = [one for one in gaps if killed_at - one[1] < one[0] < killed_at + _NEXT_GAP_S]
        gap_at, recovery_s = max(near, key=lambda one: one[1], default=(killed_at, 0.0))
        again_at = gap_at + recovery_s
        later = [one for one in after if one[0] > again_at]
        if not later:
            raise LoadError("nothing became final once the primary was replaced")
        later_gaps = [gap for at, gap in gaps if at >= again_at]
        tps_before = sum(count for _, count in before) / before_s
        tps_after = sum(count for _, count in later) / (later[-1][0] - again_at)
        from_kill = sum(count for _, count in after) / (after[-1][0] - killed_at)
        return KillFigures(
            nodes=self._nodes,
            clients=self._work.clients,
            tps_before=round(tps_before, 1),
            tps_after=round(tps_after, 1),
            tps_from_kill=round(from_kill, 1),
            ratio=round(tps_after / tps_before, 3),
            recovery_ms=round(1000 * recovery_s, 1),
            seconds_after=round(later[-1][0] - again_at, 1),
            blocks_after=len(later),
            longest_later_gap_ms=round(1000 * max(later_gaps, default=0.0), 1),
        )

    async def _primary(self) -> Member:
        """The member that leads now; not the one whose stream of blocks the clients read."""
        while True:
            view = await trio.to_thread.run_sync(self._founder.client.status)
            for member in self._cluster.members[1:]:
                if member.node_id == view.primary:
                    return member
            await trio.sleep(0.01)

    def soak(self, minutes: float) -> MemoryFigures:
        resident, own = self._no_samples(), self._no_samples()

        async def meanwhile() -> None:
            self._say(f"{self._work.clients} clients for {minutes:g} minutes")
            for _ in range(_SAMPLES):
                await trio.sleep(60 * minutes / _SAMPLES)
                for one in self._cluster.members:
                    pid = one.process.pid
                    resident[one.name].append(round(resident_mib(pid), 1))
                    own[one.name].append(round(resident_mib(pid, "RssAnon"), 1))

        measured = self._run(meanwhile)
        return MemoryFigures(
            nodes=self._nodes,
            clients=self._work.clients,
            minutes=minutes,
            transactions=len(measured.latencies_s),
            tps=round(len(measured.latencies_s) / measured.seconds, 1),
            resident_mib=resident,
            growth_mib=_growth(resident),
            own_mib=own,
            own_growth_mib=_growth(own),
        )

    def _no_samples(self) -> dict[str, list[float]]:
        return {one.name: [] for one in self._cluster.members}


def _growth(samples: dict[str, list[float]]) -> dict[str, float]:
    quarter = _SAMPLES // 4
    return {
        name: round((sum(some[-quarter:]) - sum(some[quarter : 2 * quarter])) / quarter, 1)
        for name, some in samples.items()
    }


def _after(measured: Measured, at_s: float) -> list[tuple[float, int]]:
    return [one for one in measured.finals if one[0] >= at_s]
