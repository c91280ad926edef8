"""From a seed to a scenario of whole nodes: what they ask of each other, who lies about it, and what goes wrong."""

from __future__ import annotations

from typing import get_args

from simulations.scenario import Clients, Delays, Scenario, Tasks, Worker, WorkerKind
from simulations.seeds.expand import draw_setting
from simulations.worlds.draws import Draws

_SIZES = (2, 3, 4, 4, 4, 4, 5, 7)


def expand_tasks(seed: int) -> Scenario:
    """The scenario of a seed; the same for ever, on every machine."""
    draws = Draws(seed)
    size = _SIZES[draws.below(len(_SIZES), "task size")]
    workers = _workers(draws, size)
    return Scenario(
        name=f"whole nodes, seed {seed}",
        why="expanded from a seed",
        seed=seed,
        weights=(1,) * size,
        clients=Clients(transactions=draws.below(4, "payments")),
        delays=Delays(
            progress_ms=draws.between(400, 1_200, "progress"), progress_cap_ms=6_000, status_ms=400
        ),
        tasks=Tasks(
            count=draws.between(2, 8, "tasks"),
            interval_ms=draws.between(20, 1_500, "tasks apart"),
            deadline_ms=draws.between(3_000, 15_000, "deadline"),
            work_ms=(0, 50, 400, 3_000)[draws.below(4, "work")],
            group_ppm=(0, 0, 300_000)[draws.below(3, "groups")],
            fail_ppm=(0, 100_000)[draws.below(2, "failures")],
            cancel_ppm=(0, 200_000)[draws.below(2, "taken back")],
            again=draws.below(3, "again"),
        ),
        workers=workers,
        **draw_setting(draws, size),
    )


def _workers(draws: Draws, size: int) -> tuple[Worker, ...]:
    """Lies about tasks are no matter of quorums: any number below all."""
    if draws.below(3, "honest work") == 0:
        return ()
    kinds: tuple[WorkerKind, ...] = get_args(WorkerKind)
    count = draws.between(1, max(1, size // 2), "workers")
    order = sorted(range(size), key=lambda node: draws.raw(b"worker", bytes([node])))
    return tuple(
        Worker(node=node, kind=kinds[draws.below(len(kinds), "work lies", node)])
        for node in sorted(order[:count])
    )
