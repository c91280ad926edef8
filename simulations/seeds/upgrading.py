"""From a seed to a scenario in which the federation goes on to a newer protocol, with faults and liars besides.

A family of its own, because a seed of `crowd` stands for the same scenario for ever.
"""

from __future__ import annotations

import msgspec

from simulations.scenario import Scenario, Upgrade
from simulations.seeds.expand import crowd
from simulations.worlds.draws import Draws


def upgrading(seed: int) -> Scenario:
    """The scenario of `crowd`: most of its liars are sound instead, and run an old program for a while.

    Without them there is a quorum all the same. In a quarter of the seeds somebody else is late, too, who is needed.
    """
    draws, whole = Draws(seed), crowd(seed)
    late = [one.node for one in whole.actors if draws.below(4, "late program", one.node)]
    honest = [node for node in range(whole.founders) if node not in whole.liars]
    if draws.below(4, "needed") == 0:
        late.append(honest[draws.below(len(honest), "who is needed")])
    upgrade = Upgrade(
        at_ms=draws.between(100, whole.heal_ms // 2, "upgrade"),
        late=tuple(sorted(late)),
        late_ms=draws.between(whole.heal_ms // 2, whole.heal_ms, "installed"),
    )
    actors = tuple(one for one in whole.actors if one.node not in late)
    return msgspec.structs.replace(whole, name=f"upgrade {seed}", actors=actors, upgrade=upgrade)
