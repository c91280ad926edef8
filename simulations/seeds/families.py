"""The families of scenarios that seeds expand to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from simulations.scenario import Scenario
from simulations.seeds.expand import collecting, crowd, expand, large_set, registering
from simulations.seeds.expand_tasks import expand_tasks
from simulations.seeds.latecomers import latecomer
from simulations.seeds.upgrading import upgrading

Family = Literal[
    "federations",
    "latecomers",
    "crowds",
    "registries",
    "whole-nodes",
    "collectors",
    "large-sets",
    "upgrades",
]

FAMILIES: dict[Family, Callable[[int], Scenario]] = {
    "federations": expand,
    "latecomers": latecomer,
    "crowds": crowd,
    "registries": registering,
    "whole-nodes": expand_tasks,
    "collectors": collecting,
    "large-sets": large_set,
    "upgrades": upgrading,
}

_RARE = (
    "blocks fetched",
    "clog",
    "crash between prepared and commit",
    "epoch change",
    "epoch change under a partition",
    "equivocation seen",
    "re-proposal after a view change",
    "restart while asking for a view",
    "unsynced batches lost",
    "view change while prepared",
    "write failed",
)

SOMETIMES: dict[Family, tuple[str, ...]] = {
    "federations": (*_RARE, "damaged disk replaced"),
    "latecomers": ("snapshot taken",),
    "crowds": _RARE,
    "registries": (*_RARE, "liar punished", "seat lost", "voting key rotated"),
    "whole-nodes": (
        "claim given back",
        "executor crashed at work",
        "hand-off placed again",
        "liar found out",
        "member of a group failed",
        "member of a group settled",
        "shown as settled",
        "task assigned",
        "task cancelled",
        "task failed",
        "task settled",
    ),
    "collectors": _RARE,
    "large-sets": ("view change while prepared",),
    "upgrades": (*_RARE, "stopped at a newer protocol"),
}
"""What must happen somewhere among many seeds of a family, or they prove little."""
