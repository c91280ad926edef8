"""Delta debugging: the smallest scenario that still breaks the same invariant (Zeller and Hildebrandt 2002).

Luck is drawn by key, so what is taken away changes nothing about the rest. Passes go from coarse to fine: fewer
faults, actors and nodes; defaults in the place of settings; fewer transactions; shorter and rounder times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from simulations.guest_world import GuestScenario
from simulations.running import invariant_of, run_any
from simulations.scenario import Clients, Scenario, Tasks
from simulations.scenario_file import dump, setting_fault_of
from simulations.worlds.faults import Cut, Fault
from simulations.worlds.result import Result
from simulations.worlds.setting import Setting

MOST_RUNS = 400
MOST_EVENTS = 1_500_000
"""All runs together may have so many events: about a minute."""
_OTHER_SEEDS = 12
Item = TypeVar("Item")
Tell = Callable[[int, Setting], None]


class NothingBrokenError(Exception):
    """The scenario breaks no invariant, so there is nothing to keep."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What is left."""

    setting: Setting
    result: Result
    runs: int


def shrink(
    setting: Setting,
    most_runs: int = MOST_RUNS,
    tell: Tell | None = None,
    *,
    most_events: int = MOST_EVENTS,
) -> Shrunk:
    """The smallest scenario found within so many runs and events. Raises `NothingBrokenError`."""
    first = run_any(setting)
    if first.violation is None:
        raise NothingBrokenError
    work = _Work(setting, first, most_runs, most_events, tell)
    before: Setting | None = None
    while before != work.best and not work.is_over:
        before = work.best
        for one in _PASSES:
            one(work)
    return Shrunk(work.best, work.result, work.runs)


class _Work:
    """The best scenario so far, and what may still be tried."""

    def __init__(
        self,
        setting: Setting,
        first: Result,
        most_runs: int,
        most_events: int,
        tell: Tell | None,
    ) -> None:
        self.best, self.result = setting, first
        self.runs = self._events = 0
        self._most_runs, self._most_events, self._tell = most_runs, most_events, tell
        self._invariant = invariant_of(first.violation)
        self._tried = {msgspec.json.encode(setting)}

    @property
    def is_over(self) -> bool:
        return self.runs >= self._most_runs or self._events >= self._most_events

    def keeps_with_luck(self, **changes: Any) -> bool:  # noqa: ANN401 - fields of any scenario
        """The same, if need be under another seed: some changes give every message another name, and so other luck."""
        seeds = (self.best.seed, *range(_OTHER_SEEDS))
        return any(self.keeps(seed=seed, **changes) for seed in seeds)

    def keeps(self, **changes: Any) -> bool:  # noqa: ANN401 - fields of any scenario
        """Whether the best scenario with these changes breaks the same invariant; if so, it is the best one now."""
        candidate = msgspec.structs.replace(self.best, **changes)
        key = msgspec.json.encode(candidate)
        if self.is_over or key in self._tried or cost(candidate) >= cost(self.best):
            return False
        if setting_fault_of(candidate) is not None:
            return False
        self._tried.add(key)
        self.runs += 1
        result = run_any(candidate)
        self._events += result.events
        if invariant_of(result.violation) != self._invariant:
            return False
        self.best, self.result = candidate, result
        if self._tell is not None:
            self._tell(self.runs, candidate)
        return True


def cost(setting: Setting) -> tuple[int, ...]:
    """What there is to understand, the weightiest first; every step makes it less."""
    actors = asked = 0
    if isinstance(setting, Scenario):
        actors = len(setting.actors) + len(setting.joiners)
        actors += len(setting.workers) + len(setting.deeds)
        asked = setting.clients.transactions + setting.tasks.count
    text = dump(msgspec.structs.replace(setting, seed=0))
    digits = sum(letter in "123456789" for letter in text)
    return len(setting.faults) + actors, setting.nodes, asked, len(text), digits, setting.heal_ms


def _fewer(items: Sequence[Item], keeps: Callable[[tuple[Item, ...]], bool]) -> None:
    """Leave out halves, quarters, ... and single ones (ddmin)."""
    kept = tuple(items)
    chunk = len(kept)
    while chunk and kept:
        place = 0
        while place < len(kept):
            rest = kept[:place] + kept[place + chunk :]
            if keeps(rest):
                kept = rest
            else:
                place += chunk
        chunk //= 2


def _quick_signatures(work: _Work) -> None:
    """First of all, so that all other runs cost little."""
    if isinstance(work.best, Scenario) and work.best.signatures != "keyed_hash":
        work.keeps_with_luck(signatures="keyed_hash")


def _fewer_faults(work: _Work) -> None:
    _fewer(work.best.faults, lambda faults: work.keeps(faults=faults))


def _fewer_actors(work: _Work) -> None:
    if isinstance(work.best, Scenario):
        _fewer(work.best.actors, lambda actors: work.keeps(actors=actors))
        _fewer(work.best.workers, lambda workers: work.keeps(workers=workers))
        _fewer(work.best.deeds, lambda deeds: work.keeps(deeds=deeds))


def _defaults(work: _Work) -> None:
    """Whatever needn't be said isn't said."""
    skipped = ("name", "why", "seed", "faults", "actors", "workers", "deeds", "heal_ms", "core")
    for field in msgspec.structs.fields(type(work.best)):
        if field.name in skipped or field.default is msgspec.NODEFAULT:
            continue
        value, plain = getattr(work.best, field.name), field.default
        if isinstance(value, Clients):
            plain = msgspec.structs.replace(plain, transactions=value.transactions)
        if isinstance(value, Tasks):
            plain = msgspec.structs.replace(plain, count=value.count)
        if value == plain or work.keeps_with_luck(**{field.name: plain}):
            continue
        if isinstance(value, msgspec.Struct):
            _inner_defaults(work, field.name)
        elif isinstance(value, tuple) and field.name != "joiners":
            for place in range(len(value)):
                now = getattr(work.best, field.name)
                work.keeps(**{field.name: (*now[:place], 0, *now[place + 1 :])})


def _inner_defaults(work: _Work, name: str) -> None:
    for field in msgspec.structs.fields(type(getattr(work.best, name))):
        outer = getattr(work.best, name)
        if getattr(outer, field.name) != field.default:
            plainer = msgspec.structs.replace(outer, **{field.name: field.default})
            if not work.keeps_with_luck(**{name: plainer}):
                _round(work, name, field.name)


def _round(work: _Work, name: str, inner: str) -> None:
    outer = getattr(work.best, name)
    value = getattr(outer, inner)
    if isinstance(value, int) and not isinstance(value, bool):
        for near in _rounder(value):
            if work.keeps(**{name: msgspec.structs.replace(outer, **{inner: near})}):
                return


def _fewer_nodes(work: _Work) -> None:
    for node in reversed(range(work.best.nodes)):
        changes = _without(work.best, node)
        if changes is not None:
            work.keeps_with_luck(**changes)


def _without(setting: Setting, node: int) -> dict[str, Any] | None:
    """What changes if a node is not there and those above it move down; None if it can't go."""
    if setting.nodes == 1:
        return None

    def moved(number: int) -> int:
        return number - (number > node)

    faults = tuple(
        _renumbered(cleared, moved)
        for fault in setting.faults
        if (cleared := _cleared(fault, node)) is not None
    )
    changes: dict[str, Any] = {"faults": faults}
    for name in ("skews_ms", "drifts_ppm"):
        clocks = getattr(setting, name)
        changes[name] = clocks[:node] + clocks[node + 1 :]
    if isinstance(setting, GuestScenario):
        return changes | {"nodes": setting.nodes - 1}
    assert isinstance(setting, Scenario)
    for name in ("actors", "workers"):
        changes[name] = tuple(
            msgspec.structs.replace(liar, node=moved(liar.node))
            for liar in getattr(setting, name)
            if liar.node != node
        )
    changes["deeds"] = tuple(
        msgspec.structs.replace(
            deed, node=moved(deed.node), to=None if deed.to is None else moved(deed.to)
        )
        for deed in setting.deeds
        if node not in (deed.node, deed.to)
    )
    if setting.upgrade is not None:
        late = tuple(moved(one) for one in setting.upgrade.late if one != node)
        changes["upgrade"] = msgspec.structs.replace(setting.upgrade, late=late)
    only = tuple(moved(one) for one in setting.clients.only if one != node)
    changes["clients"] = msgspec.structs.replace(setting.clients, only=only)
    place = node - setting.founders
    if place >= 0:
        joiners = setting.joiners[:place] + setting.joiners[place + 1 :]
        return changes | {"joiners": joiners}
    if setting.founders == 1:
        return None
    return changes | {"weights": setting.weights[:node] + setting.weights[node + 1 :]}


def _cleared(fault: Fault, node: int) -> Fault | None:
    """A fault that no longer speaks of a node, or None if nothing is left of it."""
    if fault.nodes_named == (node,):
        return None
    if isinstance(fault, Cut):
        links = tuple(link for link in fault.links if node not in link)
        return msgspec.structs.replace(fault, links=links) if links else None
    for name in ("side", "nodes"):
        if hasattr(fault, name):
            rest = tuple(one for one in getattr(fault, name) if one != node)
            return msgspec.structs.replace(fault, **{name: rest})
    return fault


def _renumbered(fault: Fault, moved: Callable[[int], int]) -> Fault:
    if isinstance(fault, Cut):
        links = tuple((moved(one), moved(other)) for one, other in fault.links)
        return msgspec.structs.replace(fault, links=links)
    for name in ("side", "nodes"):
        if hasattr(fault, name):
            return msgspec.structs.replace(fault, **{name: tuple(map(moved, getattr(fault, name)))})
    if hasattr(fault, "node"):
        return msgspec.structs.replace(fault, node=moved(fault.node))
    return fault


def _equal_weights(work: _Work) -> None:
    if isinstance(work.best, Scenario):
        work.keeps_with_luck(weights=(1,) * work.best.founders)


def _fewer_transactions(work: _Work) -> None:
    if not isinstance(work.best, Scenario):
        return
    for name, field in (("clients", "transactions"), ("tasks", "count")):
        for count in (0, 1, 2, 3, 5, 8):
            asked = getattr(work.best, name)
            if count < getattr(asked, field) and work.keeps(
                **{name: msgspec.structs.replace(asked, **{field: count})}
            ):
                break


def _plainer_faults(work: _Work) -> None:
    for place in range(len(work.best.faults)):
        for field in msgspec.structs.fields(type(work.best.faults[place])):
            for value in _plainer(getattr(work.best.faults[place], field.name), field):
                fault = msgspec.structs.replace(work.best.faults[place], **{field.name: value})
                faults = work.best.faults
                if work.keeps(faults=(*faults[:place], fault, *faults[place + 1 :])):
                    break


def _plainer(value: Any, field: msgspec.structs.FieldInfo) -> Iterator[Any]:  # noqa: ANN401
    if field.default is not msgspec.NODEFAULT and value != field.default:
        yield field.default
    if isinstance(value, tuple) and len(value) > 1:
        yield from (value[:place] + value[place + 1 :] for place in range(len(value)))
    if isinstance(value, int) and not isinstance(value, bool) and field.name != "node":
        yield from _rounder(value)


def _rounder(value: int) -> Iterator[int]:
    """Rounder numbers near this one."""
    for step in (100_000, 10_000, 1_000, 500, 100, 50, 10):
        low = value // step * step
        for near in (low, low + step):
            if value % step and value >= step:
                yield near


def _shorter(work: _Work) -> None:
    """Heal as soon as the last fault is over, at a round time."""
    ends = max((fault.end_ms for fault in work.best.faults), default=0)
    earliest = -(-max(ends, 100) // 100) * 100
    for heal_ms in (earliest, (earliest + work.best.heal_ms) // 2 // 100 * 100):
        if earliest <= heal_ms < work.best.heal_ms and work.keeps(heal_ms=heal_ms):
            return


_PASSES: tuple[Callable[[_Work], None], ...] = (
    _quick_signatures,
    _fewer_faults,
    _fewer_actors,
    _defaults,
    _fewer_nodes,
    _equal_weights,
    _fewer_transactions,
    _shorter,
    _plainer_faults,
)
