"""From a seed to a scenario about snapshots: somebody comes back, or comes in, far behind, and helpers lie.

A family of its own, because a seed of `expand` stands for the same scenario for ever.
"""

from __future__ import annotations

from simulations.scenario import Actor, Clients, Delays, Scenario, Snapshots
from simulations.worlds.draws import Draws
from simulations.worlds.faults import Crash, Fault, Partition
from simulations.worlds.setting import Disk, Network

_SIZES = (4, 4, 4, 5, 7)


def latecomer(seed: int) -> Scenario:
    """The scenario of a seed; the same for ever, on every machine."""
    draws = Draws(seed)
    size = _SIZES[draws.below(len(_SIZES), "late size")]
    liars = draws.between(1, (size - 1) // 3, "late liars")
    order = sorted(range(size), key=lambda node: draws.raw(b"late order", bytes([node])))
    actors = tuple(Actor(node=node, kind="snapshot_liar") for node in sorted(order[:liars]))
    away = order[liars]
    begin = draws.between(50, 600, "late begin")
    end = begin + draws.between(2_000, 4_000, "late away")
    heal_ms = end + draws.between(500, 3_000, "late heal")
    joiners = (
        (draws.between(500, 1_500, "late joins"),) if draws.below(3, "late joiner") == 0 else ()
    )
    return Scenario(
        name=f"latecomer {seed}",
        why="expanded from a seed",
        seed=seed,
        weights=(1,) * size,
        joiners=joiners,
        max_block_txs=draws.between(1, 2, "late block"),
        clients=Clients(transactions=draws.between(8, 16, "late asked"), interval_ms=100),
        delays=Delays(progress_ms=1_000, progress_cap_ms=6_000, status_ms=400),
        network=Network(
            latency_us=draws.between(200, 5_000, "late latency"),
            jitter_us=draws.between(0, 20_000, "late jitter"),
            loss_ppm=(0, 20_000, 100_000)[draws.below(3, "late loss")],
        ),
        disk=Disk(sync_us=(0, 5_000)[draws.below(2, "late disk")]),
        actors=actors,
        faults=tuple(
            sorted(_faults(draws, away, begin, end, heal_ms), key=lambda fault: fault.at_ms)
        ),
        heal_ms=heal_ms,
        snapshots=Snapshots(
            every=draws.between(2, 6, "late every"), behind=draws.between(4, 10, "late behind")
        ),
    )


def _faults(draws: Draws, away: int, begin: int, end: int, heal_ms: int) -> list[Fault]:
    """It is down or cut off; once back, it may die again while it takes the snapshot."""
    if draws.below(2, "late cut"):
        faults: list[Fault] = [Partition(at_ms=begin, until_ms=end, side=(away,))]
    else:
        faults = [Crash(node=away, at_ms=begin, down_ms=end - begin)]
    if draws.below(2, "late again"):
        again = end + draws.between(50, 450, "late again at")
        faults.append(Crash(node=away, at_ms=again, down_ms=min(50, heal_ms - again), in_turn=True))
    return faults
