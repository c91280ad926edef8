"""Draws the rarer faults of a seed: links, disks, clocks and machines that misbehave for a while."""

from __future__ import annotations

from collections.abc import Callable

from simulations.scenario import Actor
from simulations.worlds.draws import Draws
from simulations.worlds.faults import (
    BitRot,
    ClockDrift,
    ClockStep,
    ClockStop,
    Clog,
    Crash,
    Cut,
    FalseSync,
    Fault,
    FullDisk,
    Lag,
    Loss,
    SlowCpu,
    SlowDisk,
    Throttle,
)

_LEAST_MS = 50
Between = Callable[[int, int, str], int]


def weather(draws: Draws, nodes: int, heal_ms: int) -> tuple[Fault, ...]:
    """For half of the seeds one to three faults that everybody has to bear."""
    if draws.below(2, "weather"):
        return ()
    return tuple(
        _one(draws, nodes, heal_ms, place) for place in range(draws.between(1, 3, "weathers"))
    )


def _one(draws: Draws, nodes: int, heal_ms: int, place: int) -> Fault:
    def between(low: int, high: int, purpose: str) -> int:
        return draws.between(low, high, purpose, place)

    at_ms = between(_LEAST_MS, heal_ms - 500, "weather-begin")
    until_ms = between(at_ms + _LEAST_MS, heal_ms, "weather-end")
    node = between(0, nodes - 1, "weather-node")
    kinds = (_link, _link, _machine, _machine, _clock)
    kind = kinds[draws.below(len(kinds), "weather-kind", place)]
    return kind(between, node, nodes, at_ms, until_ms)


def _link(between: Between, node: int, nodes: int, at_ms: int, until_ms: int) -> Fault:
    some = (node,) if between(0, 1, "some") else ()
    match between(0, 4, "link"):
        case 0 if nodes > 1:
            other = (node + between(1, nodes - 1, "other")) % nodes
            one_way = between(0, 1, "one-way") == 1
            return Cut(at_ms=at_ms, until_ms=until_ms, links=((node, other),), one_way=one_way)
        case 1:
            lost_ppm = between(50_000, 900_000, "lost")
            return Loss(at_ms=at_ms, until_ms=until_ms, nodes=some, lost_ppm=lost_ppm)
        case 2:
            more_us = between(5_000, 500_000, "more")
            return Lag(at_ms=at_ms, until_ms=until_ms, nodes=some, more_us=more_us)
        case 3:
            rate = between(5_000, 100_000, "rate")
            return Throttle(at_ms=at_ms, until_ms=until_ms, node=node, bytes_per_s=rate)
        case _:
            return Clog(at_ms=at_ms, until_ms=until_ms, nodes=some)


def _machine(between: Between, node: int, nodes: int, at_ms: int, until_ms: int) -> Fault:
    del nodes
    match between(0, 2, "machine"):
        case 0:
            turn_us = between(200, 20_000, "turn")
            return SlowCpu(node=node, at_ms=at_ms, until_ms=until_ms, turn_us=turn_us)
        case 1:
            sync_us = between(1_000, 300_000, "sync")
            return SlowDisk(node=node, at_ms=at_ms, until_ms=until_ms, sync_us=sync_us)
        case _:
            return FullDisk(node=node, at_ms=at_ms, until_ms=until_ms)


def _clock(between: Between, node: int, nodes: int, at_ms: int, until_ms: int) -> Fault:
    del nodes
    match between(0, 2, "clock"):
        case 0:
            return ClockStep(node=node, at_ms=at_ms, by_ms=between(-60_000, 60_000, "by"))
        case 1:
            by_ppm = between(-200_000, 200_000, "by")
            return ClockDrift(node=node, at_ms=at_ms, until_ms=until_ms, by_ppm=by_ppm)
        case _:
            return ClockStop(node=node, at_ms=at_ms, until_ms=until_ms)


def damage(
    draws: Draws,
    weights: tuple[int, ...],
    actors: tuple[Actor, ...],
    joiners: tuple[int, ...],
    heal_ms: int,
) -> tuple[Fault, ...]:
    """For some seeds a disk that breaks its promises, if the federation can bear one more that counts as faulty."""
    node = draws.below(len(weights), "damaged-node")
    faulty = {actor.node for actor in actors} | {node}
    power = sum(weights[one] for one in faulty)
    too_many = 3 * power >= sum(weights) or (joiners and 3 * len(faulty) >= len(weights))
    if too_many or draws.below(5, "damaged"):
        return ()
    at_ms = draws.between(_LEAST_MS, heal_ms - 500, "damage-begin")
    down_ms = min(draws.between(5, 800, "damage-down"), heal_ms - at_ms)
    if draws.below(2, "damage-kind"):
        unchecked = draws.below(2, "unchecked") == 1
        return (BitRot(node=node, at_ms=at_ms, down_ms=down_ms, unchecked=unchecked),)
    dies = Crash(node=node, at_ms=at_ms + (heal_ms - at_ms) // 2, down_ms=down_ms // 2)
    return (FalseSync(node=node, at_ms=at_ms, until_ms=heal_ms), dies)
