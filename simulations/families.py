"""The families of scenarios that seeds expand to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from simulations.expand import collecting, crowd, expand, large_set, registering
from simulations.expand_tasks import expand_tasks
from simulations.latecomers import latecomer
from simulations.scenario import Scenario

Family = Literal[
    "federations",
    "latecomers",
    "crowds",
    "registries",
    "whole-nodes",
    "collectors",
    "large-sets",
]

FAMILIES: dict[Family, Callable[[int], Scenario]] = {
    "federations": expand,
    "latecomers": latecomer,
    "crowds": crowd,
    "registries": registering,
    "whole-nodes": expand_tasks,
    "collectors": collecting,
    "large-sets": large_set,
}
