"""From a seed to a scenario: what kind of federation, which faults, which liars."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

import msgspec

from consensus.quorum import admission_powers, capped_powers
from simulations.registrar import is_bearable
from simulations.scenario import COLLECTORS, Actor, ActorKind, Clients, Deed, Delays, Scenario
from simulations.seeds.campaigns import CAMPAIGNS, Campaign
from simulations.seeds.weather import damage, weather
from simulations.worlds.draws import Draws
from simulations.worlds.faults import Crash, Fault, Partition, Pause
from simulations.worlds.setting import Disk, Network

_SIZES = (1, 2, 3, 4, 4, 4, 4, 4, 5, 6, 7, 7, 8, 10)
_SHAPES: tuple[Literal["uniform", "exponential", "pareto"], ...] = (
    *("uniform",) * 4,
    "exponential",
    "pareto",
)
_LEAST_TOLERANT = 4
_LIARS = tuple(kind for kind in get_args(ActorKind) if kind not in ("snapshot_liar", *COLLECTORS))
"""Those that lie in any federation. A seed's scenario is the same for ever, so these stay."""


def expand(seed: int) -> Scenario:
    """The scenario of a seed; the same for ever, on every machine."""
    draws = Draws(seed)
    size = _SIZES[draws.below(len(_SIZES), "size")]
    weights = _weights(draws, size)
    joiners = _joiners(draws, size)
    drawn = draw_setting(draws, size + len(joiners), weights)
    heal_ms = drawn["heal_ms"]
    actors, faults = _actors(draws, weights, joiners), drawn.pop("faults")
    if joiners and draws.below(2, "parted growth") == 0:
        apart = (draws.below(size + len(joiners), "apart"),)
        faults = (*faults, Partition(at_ms=joiners[0], until_ms=heal_ms - 500, side=apart))
    faults = (*faults, *damage(draws, weights, actors, joiners, heal_ms))
    plan = _campaign(draws, heal_ms)
    if plan is not None:
        size = plan.sizes[draws.below(len(plan.sizes), "campaign size")]
        weights, joiners = (1,) * size, ()
        actors, faults = plan.actors, plan.faults
        drawn |= _clocks(draws, size) if plan.delays is None else _clocks(draws, 0)
        drawn["network"] = plan.network or drawn["network"]
    return Scenario(
        name=f"seed {seed}",
        why="expanded from a seed",
        seed=seed,
        weights=weights,
        joiners=joiners,
        signatures="ed25519" if draws.below(16, "signatures") == 0 else "keyed_hash",
        max_block_txs=(1, 5, 50)[draws.below(3, "block")],
        clients=(plan and plan.clients) or _clients(draws, size),
        delays=(plan and plan.delays) or _delays(draws),
        actors=actors,
        faults=_in_order(faults),
        **drawn,
    )


def crowd(seed: int) -> Scenario:
    """A family of its own: 4, 7 or 10 founders, as many liars of any kind as the protocol bears, and faults besides.

    A third has unequal weights, a third grows while it runs.
    """
    draws = Draws(seed)
    size = (4, 7, 10)[draws.below(3, "crowd size")]
    kind = draws.below(3, "crowd kind")
    weights = (1,) * size
    if kind == 1:
        weights = tuple(draws.between(1, 3, "crowd weight", seat) for seat in range(size))
    count = draws.between(1, 2, "crowd joiners") if kind == 2 else 0  # noqa: PLR2004 - the third kind
    joiners = tuple(draws.between(100, 2_500, "crowd joins", place) for place in range(count))
    drawn = draw_setting(draws, size + count, weights)
    actors: list[Actor] = []
    for node in sorted(range(size), key=lambda node: draws.raw(b"crowd liar", bytes([node]))):
        lying = weights[node] + sum(weights[one.node] for one in actors)
        if 3 * lying < sum(weights) and not (joiners and 3 * (len(actors) + 1) >= size):
            liar: ActorKind = _LIARS[draws.below(len(_LIARS), "crowd lies", node)]
            actors.append(Actor(node=node, kind=liar))
    return Scenario(
        name=f"crowd {seed}",
        why="expanded from a seed",
        seed=seed,
        weights=weights,
        joiners=joiners,
        max_block_txs=(1, 5, 50)[draws.below(3, "block")],
        clients=_clients(draws, size),
        delays=_delays(draws),
        actors=tuple(sorted(actors, key=lambda actor: actor.node)),
        **drawn,
    )


def registering(seed: int) -> Scenario:
    """The scenario of `crowd` with votes that weigh by stake, liars that are punished, and operators at work.

    Keys of honest founders are rotated and money is bound to them at times of their own, beside the faults; liars are
    as many as are bearable in every set that may come of it.
    """
    draws, whole = Draws(seed), crowd(seed)
    size = whole.founders
    drawn = tuple(draws.between(1, 3, "registry weight", seat) for seat in range(size))
    weights = capped_powers(drawn)
    honest = tuple(seat for seat in range(size) if seat not in whole.liars)
    count = draws.below(5, "deeds")
    deeds: dict[tuple[int, bool], Deed] = {}
    for place in range(count):
        node = honest[draws.below(len(honest), "deed node", place)]
        at_ms = draws.between(100, whole.heal_ms, "deed time", place)
        if draws.below(2, "deed kind", place):
            deeds[node, True] = Deed(node=node, at_ms=at_ms)
        else:
            to = honest[draws.below(len(honest), "deed to", place)]
            power = draws.between(1, 2, "deed power", place)
            deeds[node, False] = Deed(node=node, at_ms=at_ms, to=to, power=power)
    again = tuple(
        msgspec.structs.replace(deed, at_ms=deed.at_ms + draws.between(1, 600, "again", deed.node))
        for deed in deeds.values()
        if deed.to is None and draws.below(2, "rotates again", deed.node)
    )
    done, joiners = (*deeds.values(), *again), len(whole.joiners)
    actors: list[Actor] = []
    for actor in sorted(
        whole.actors, key=lambda one: draws.raw(b"registry liar", bytes([one.node]))
    ):
        liars = (*(one.node for one in actors), actor.node)
        if is_bearable(weights, liars, joiners, done):
            actors.append(actor)
    return msgspec.structs.replace(
        whole,
        name=f"registry {seed}",
        weights=weights,
        actors=tuple(sorted(actors, key=lambda actor: actor.node)),
        by_stake=True,
        deeds=done,
    )


def collecting(seed: int) -> Scenario:
    """The scenario of `crowd` or `expand` with votes that go through collectors, half of whose liars lie as such."""
    draws, whole = Draws(seed), crowd(seed) if seed % 2 else expand(seed)
    actors = tuple(
        msgspec.structs.replace(
            one, kind=COLLECTORS[draws.below(len(COLLECTORS), "collector", one.node)]
        )
        if whole.nodes >= _LEAST_TOLERANT and draws.below(2, "collects", one.node)
        else one
        for one in whole.actors
    )
    return msgspec.structs.replace(
        whole, name=f"collectors {seed}", collected_from=_LEAST_TOLERANT, actors=actors
    )


def large_set(seed: int) -> Scenario:
    """A set that is large as it is, 32 to 40 founders, with up to as many liars as it bears and faults besides."""
    draws = Draws(seed)
    size = draws.between(32, 40, "large size")
    weights = (1,) * size
    if draws.below(3, "large kind") == 0:
        weights = tuple(draws.between(1, 3, "large weight", seat) for seat in range(size))
    drawn = draw_setting(draws, size, weights)
    liars, actors = draws.between(0, (size - 1) // 3, "large liars"), list[Actor]()
    for node in sorted(range(size), key=lambda node: draws.raw(b"large liar", bytes([node]))):
        lying = weights[node] + sum(weights[one.node] for one in actors)
        if 3 * lying < sum(weights) and len(actors) < liars:
            kinds = COLLECTORS if draws.below(2, "large collects", node) else _LIARS
            actors.append(Actor(node=node, kind=kinds[draws.below(len(kinds), "large lies", node)]))
    askers = tuple(sorted({draws.below(size, "large asker", place) for place in range(3)}))
    return Scenario(
        name=f"large set {seed}",
        why="expanded from a seed",
        seed=seed,
        weights=weights,
        clients=msgspec.structs.replace(_clients(draws, size), transactions=4, only=askers),
        delays=_delays(draws),
        actors=tuple(sorted(actors, key=lambda actor: actor.node)),
        **drawn,
    )


def _campaign(draws: Draws, heal_ms: int) -> Campaign | None:
    """A scripted attack, for a quarter of the seeds."""
    if draws.below(4, "campaign"):
        return None
    return CAMPAIGNS[draws.below(len(CAMPAIGNS), "which campaign")](draws, heal_ms)


def _clients(draws: Draws, size: int) -> Clients:
    return Clients(
        transactions=draws.between(3, 15, "transactions"),
        interval_ms=draws.between(20, 400, "interval"),
        burst=draws.between(1, 3, "burst"),
        only=(draws.below(size, "asker"),) if draws.below(4, "askers") == 0 else (),
    )


def draw_setting(draws: Draws, nodes: int, weights: tuple[int, ...] = ()) -> dict[str, Any]:
    """The part of a scenario that is about no protocol: network, disks, clocks, faults and when they end."""
    heal_ms = draws.between(3_000, 12_000, "heal")
    faults = (
        *_faults(draws, nodes, weights or (1,) * nodes, heal_ms),
        *weather(draws, nodes, heal_ms),
    )
    return {
        "network": _network(draws),
        "disk": Disk(
            sync_us=draws.between(100, 15_000, "sync") if draws.below(4, "syncs") == 0 else 0
        ),
        **_clocks(draws, nodes),
        "faults": _in_order(faults),
        "heal_ms": heal_ms,
    }


def _clocks(draws: Draws, nodes: int) -> dict[str, tuple[int, ...]]:
    return {
        "skews_ms": _each(draws, nodes, "skew", 1_500) if draws.below(3, "skewed") == 0 else (),
        "drifts_ppm": _each(draws, nodes, "drift", 30_000) if draws.below(8, "drifts") == 0 else (),
    }


def _each(draws: Draws, nodes: int, purpose: str, most: int) -> tuple[int, ...]:
    return tuple(draws.between(-most, most, purpose, node) for node in range(nodes))


def _in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    return tuple(sorted(faults, key=lambda fault: fault.at_ms))


def _weights(draws: Draws, size: int) -> tuple[int, ...]:
    match draws.below(4, "weights"):
        case 0 if size >= _LEAST_TOLERANT:
            return tuple(draws.between(1, 3, "weight", seat) for seat in range(size))
        case 1 if size < _LEAST_TOLERANT:
            return (1,) * size
        case _:
            return admission_powers(size)


def _joiners(draws: Draws, size: int) -> tuple[int, ...]:
    if draws.below(4, "growing"):
        return ()
    count = draws.between(1, 3 if size < _LEAST_TOLERANT else 2, "joiners")
    return tuple(draws.between(100, 2_500, "joins", place) for place in range(count))


def _delays(draws: Draws) -> Delays:
    """A third of the seeds is so impatient that views change while votes are under way."""
    low, high = ((400, 1_200), (400, 1_200), (60, 300))[draws.below(3, "patience")]
    return Delays(
        progress_ms=draws.between(low, high, "progress"), progress_cap_ms=6_000, status_ms=400
    )


def _network(draws: Draws) -> Network:
    loss = (0, 0, 5_000, 30_000, 150_000)[draws.below(5, "loss")]
    return Network(
        latency_us=draws.between(200, 5_000, "latency"),
        jitter_us=draws.between(0, 20_000, "jitter"),
        tail_ppm=(0, 10_000, 100_000)[draws.below(3, "tail")],
        tail_us=draws.between(50_000, 800_000, "tail-length"),
        loss_ppm=loss,
        duplicate_ppm=(0, 50_000)[draws.below(2, "duplicates")],
        jitter_shape=_SHAPES[draws.below(len(_SHAPES), "shape")],
        keeps_order=draws.below(4, "order") == 0,
        bytes_per_s=draws.between(100_000, 1_000_000, "rate")
        if draws.below(8, "rated") == 0
        else None,
    )


def _actors(draws: Draws, weights: tuple[int, ...], joiners: tuple[int, ...]) -> tuple[Actor, ...]:
    """Liars up to just below a third of the power, in every epoch there will be."""
    size, kinds = len(weights), _LIARS
    if size >= _LEAST_TOLERANT and not joiners and draws.below(6, "needed") == 0:
        last = min(range(size), key=lambda node: (weights[node], -node))
        return (Actor(node=last, kind="silent"),) if 3 * weights[last] < sum(weights) else ()
    if size < _LEAST_TOLERANT or draws.below(3, "lying") == 0:
        return ()
    order = sorted(range(size), key=lambda node: draws.raw(b"liar", bytes([node])))
    if draws.below(2, "lying leader"):
        first = max(order, key=lambda node: (weights[node], -node))
        order.sort(key=lambda node: node != first)
    chosen: list[Actor] = []
    lying = 0
    for node in order[: draws.between(1, size, "liars")]:
        power = weights[node]
        too_many = joiners and 3 * (len(chosen) + 1) >= size
        if 3 * (lying + power) >= sum(weights) or too_many:
            continue
        kind: ActorKind = kinds[draws.below(len(kinds), "lies", node)]
        chosen.append(Actor(node=node, kind=kind))
        lying += power
    return tuple(sorted(chosen, key=lambda actor: actor.node))


def _faults(draws: Draws, nodes: int, weights: tuple[int, ...], heal_ms: int) -> tuple[Fault, ...]:
    """A seed has a temper: few faults of any kind, or many of one kind."""
    temper = draws.below(4, "temper")
    count = draws.below(6, "faults") if temper else draws.between(4, 14, "faults")
    kind = draws.below(5, "one-kind")
    faults: list[Fault] = []
    for place in range(count):
        node = draws.below(nodes, "fault-node", place)
        if draws.below(3, "at-leader", place) == 0:
            node = max(range(len(weights)), key=lambda seat: (weights[seat], -seat))
        begin = draws.between(50, heal_ms - 500, "fault-begin", place)
        length = draws.between(50, heal_ms - begin, "fault-length", place)
        match draws.below(5, "fault-kind", place) if temper else kind:
            case 0 | 1 | 2:
                faults.append(_crash(draws, node, begin, length, place))
            case 3:
                faults.append(Pause(node=node, at_ms=begin, for_ms=min(length, 1_500)))
            case _:
                faults.append(_partition(draws, nodes, begin, begin + length, place))
    return tuple(faults)


def _crash(draws: Draws, node: int, begin: int, length: int, place: int) -> Crash:
    """Mostly in the middle of a turn, and often back before anybody has missed it."""
    in_turn = draws.below(3, "fault-cut", place) > 0
    down = min(length, 2_000) // (2 if in_turn else 1)
    if draws.below(2, "short", place):
        down = min(down, draws.between(5, 80, "fault-down", place))
    return Crash(node=node, at_ms=begin, down_ms=down, in_turn=in_turn)


def _partition(draws: Draws, nodes: int, begin: int, end: int, place: int) -> Partition:
    side = tuple(one for one in range(nodes) if draws.below(2, "side", place, one))
    directions = ("both", "both", "out", "in")
    return Partition(
        at_ms=begin,
        until_ms=end,
        side=side,
        direction=directions[draws.below(len(directions), "direction", place)],  # type: ignore[arg-type]
        closes_links=draws.below(2, "closes", place) == 0,
    )
