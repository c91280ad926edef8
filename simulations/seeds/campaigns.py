"""Liars, faults and timers that only do harm together: the fourth tier, scripted attacks, as scenarios.

Random faults rarely meet in the few milliseconds in which a broken protocol decides twice. Each campaign sets the
stage for one attack and leaves its details to the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from simulations.scenario import Actor, ActorKind, Clients, Delays, Scenario
from simulations.worlds.draws import Draws
from simulations.worlds.faults import Crash, Fault, Partition
from simulations.worlds.setting import Network

FIRST_ASKED_MS = 50
"""When users send their first transactions, so when the first leader proposes."""

Tier = Literal["swarm", "twins", "mutation", "scripted"]

_MUTATION: tuple[ActorKind, ...] = ("mutator", "malformed_proposer", "forger")


@dataclass(frozen=True, slots=True)
class Campaign:
    """What one attack sets down; what is None the seed draws as usual."""

    actors: tuple[Actor, ...]
    faults: tuple[Fault, ...]
    delays: Delays | None = None
    network: Network | None = None
    clients: Clients | None = None
    sizes: tuple[int, ...] = field(default=(4,))


def tier_of(scenario: Scenario) -> Tier:
    """The strongest means a scenario uses: no liar at all, twins, changed messages, or a script."""
    kinds = {actor.kind for actor in scenario.actors}
    if not kinds:
        return "swarm"
    if kinds == {"twin"}:
        return "twins"
    return "mutation" if kinds <= {"twin", *_MUTATION} else "scripted"


def divided(draws: Draws, heal_ms: int) -> Campaign:
    """The first leader divides, and the one node that it lets commit can't tell anybody for a while."""
    begin = draws.between(0, 400, "divided-begin")
    end = draws.between(begin + 1_000, heal_ms, "divided-end")
    unheard = Partition(at_ms=begin, until_ms=end, side=(1,), direction="out")
    return Campaign((Actor(node=0, kind="divider"),), (unheard,), sizes=(4, 5, 6))


def woven(draws: Draws, heal_ms: int) -> Campaign:
    """Two certificates for one height, of two views, meet in a third view; whoever saw the commit is unheard.

    View 0: the last node alone prepares, then it is cut off. View 1: the next leader alone commits another block, then
    nobody hears it. View 2: the last node is back with the older certificate.
    """
    patience = draws.between(250, 420, "woven-patience")
    parted = FIRST_ASKED_MS + draws.between(15, 40, "woven-parted")
    silenced = FIRST_ASKED_MS + patience + draws.between(20, 60, "woven-silenced")
    back = FIRST_ASKED_MS + draws.between(patience + 100, 3 * patience - 20, "woven-back")
    faults = (
        Partition(at_ms=parted, until_ms=back, side=(3,)),
        Partition(at_ms=silenced, until_ms=heal_ms, side=(1,), direction="out"),
    )
    return Campaign(
        (Actor(node=0, kind="weaver"),),
        faults,
        Delays(progress_ms=patience, progress_cap_ms=6_000, status_ms=2_000),
        Network(latency_us=500, jitter_us=draws.between(0, 3_000, "woven-jitter")),
        Clients(transactions=4, interval_ms=10),
    )


def reopened(draws: Draws, heal_ms: int) -> Campaign:
    """A committed block that only an unheard node knows of, and nodes that die as the next view begins.

    They come back in a view that begins above them, before they have learnt what lies between.
    """
    patience = draws.between(250, 420, "again-patience")
    opened = FIRST_ASKED_MS + patience
    crashes = tuple(
        Crash(
            node=node,
            at_ms=opened - draws.between(0, 8, "again-crash", node),
            down_ms=draws.between(1, 40, "again-down", node),
            in_turn=True,
        )
        for node in (0, 2)
    )
    unheard = Partition(
        at_ms=0,
        until_ms=opened + draws.between(-20, 20, "again-heard"),
        side=(3,),
        direction="out",
    )
    return Campaign(
        (Actor(node=1, kind=("divider", "usurper", "equivocator")[draws.below(3, "reopener")]),),
        (unheard, *(one for one in crashes if one.at_ms + one.down_ms <= heal_ms)),
        Delays(progress_ms=patience, progress_cap_ms=6_000, status_ms=2_000),
        Network(latency_us=500, jitter_us=1_500),
        Clients(transactions=4, interval_ms=10),
    )


def sluggish(draws: Draws, heal_ms: int) -> Campaign:  # noqa: ARG001 - like all others
    """Links so slow that no view ends in time until its leader is given more of it."""
    return Campaign(
        (),
        (),
        Delays(
            progress_ms=draws.between(60, 200, "slow-patience"),
            progress_cap_ms=6_000,
            status_ms=1_500,
        ),
        Network(
            latency_us=draws.between(120_000, 400_000, "slow-latency"),
            jitter_us=draws.between(0, 100_000, "slow-jitter"),
        ),
        Clients(transactions=3, interval_ms=400),
        sizes=(4, 5, 6, 7),
    )


def forgetful(draws: Draws, heal_ms: int) -> Campaign:  # noqa: ARG001 - like all others
    """A leader that puts two blocks to the vote, while voters die between their vote and the second block."""
    crashes = tuple(
        Crash(
            node=node,
            at_ms=FIRST_ASKED_MS + draws.between(3, 40, "forget-at", node),
            down_ms=draws.between(1, 20, "forget-down", node),
            in_turn=draws.below(4, "forget-turn", node) == 0,
        )
        for node in (1, 2)
    )
    return Campaign(
        (Actor(node=0, kind="two_faced"),),
        tuple(sorted(crashes, key=lambda crash: crash.at_ms)),
        Delays(progress_ms=600, progress_cap_ms=6_000, status_ms=draws.between(20, 400, "forget")),
        Network(latency_us=500, jitter_us=1_500),
        Clients(transactions=4, interval_ms=20),
    )


CAMPAIGNS: tuple[Callable[[Draws, int], Campaign], ...] = (
    divided,
    woven,
    reopened,
    sluggish,
    forgetful,
)
