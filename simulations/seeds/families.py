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
