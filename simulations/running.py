"""One door to all worlds: whatever a scenario is about, run it."""

from __future__ import annotations

import re
from typing import Any

from simulations.federation import Federation
from simulations.guest_world import GuestScenario, GuestWorld, guest_seed
from simulations.scenario import Scenario
from simulations.seeds.families import FAMILIES, Family
from simulations.tasks.workshop import Workshop
from simulations.worlds.result import Result
from simulations.worlds.setting import Setting
from simulations.worlds.trace import Trace
from simulations.worlds.world import World


def world_of(setting: Setting, trace: Trace | None = None) -> World:
    """A world that has not run yet."""
    match setting:
        case GuestScenario():
            return GuestWorld(setting, trace)
        case Scenario() if setting.tasks.count:
            return Workshop(setting, trace)
        case Scenario():
            return Federation(setting, trace)
        case _:
            raise TypeError(f"no world for {type(setting).__name__}")


def run_any(
    setting: Setting,
    trace: Trace | None = None,
    *,
    until_ms: int | None = None,
    break_on: re.Pattern[str] | None = None,
) -> Result:
    """Run a scenario: to its end, to a time, or to the first transition whose line `break_on` is found in."""
    world = world_of(setting, trace)
    world.break_on = break_on
    if until_ms is not None:
        world.stop_at(until_ms)
    return world.run()


def setting_of_seed(seed: int, core: str | None = None, family: Family = "federations") -> Setting:
    """The scenario that a seed expands to, of a family of Bizra's own, or for a guest's cores."""
    return FAMILIES[family](seed) if core is None else guest_seed(core, seed)


def invariant_of(violation: Any) -> str:  # noqa: ANN401 - text, or None
    """The name of the invariant that a violation's text is about."""
    return "" if violation is None else str(violation).partition(":")[0]
