"""Runs a `Guest` in a world, and draws scenarios for it."""

from __future__ import annotations

import importlib
from typing import Annotated, Any, ClassVar

import msgspec

from gossip import effects
from gossip.codec import DecodeError
from simulations.guest import (
    Broadcast,
    Guest,
    Note,
    Place,
    Received,
    Request,
    Send,
    Started,
    TimerFired,
    Write,
)
from simulations.seeds.expand import draw_setting
from simulations.worlds.disk import MemoryStore
from simulations.worlds.draws import Draws
from simulations.worlds.faults import Ms
from simulations.worlds.hooks import Vocabulary
from simulations.worlds.process import Core, Process
from simulations.worlds.setting import Setting, setting_fault
from simulations.worlds.trace import Trace
from simulations.worlds.world import TICK_US, World

_DISK = "disk"
Parameter = int | str | bool


class GuestError(ValueError):
    """There is no such guest; the text says what to write instead."""


class GuestScenario(Setting, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to nodes that run somebody else's cores."""

    core: str
    """Where the guest is: `module:Class`."""
    nodes: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    parameters: dict[str, Parameter] = msgspec.field(default_factory=dict)
    """Whatever the guest wants to be told."""
    bound_ms: Ms = 10_000


def guest_of(core: str) -> type[Guest]:
    """The class that `module:Class` names. Raises `GuestError`."""
    module_name, colon, name = core.partition(":")
    if not colon or not module_name or not name:
        raise GuestError(f"core: {core!r} is not of the form module:Class")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise GuestError(
            f"core: {module_name} can't be imported ({error}); it is looked for in this folder and"
            " among the installed packages"
        ) from None
    found = getattr(module, name, None)
    if not isinstance(found, type) or not issubclass(found, Guest):
        raise GuestError(f"core: {module_name} has no class {name} that derives from Guest")
    return found


def guest_fault(scenario: GuestScenario) -> str | None:
    """What is wrong with a scenario although every field by itself is right, or None."""
    try:
        guest_of(scenario.core)
    except GuestError as error:
        return str(error)
    return setting_fault(scenario)


def guest_seed(core: str, seed: int) -> GuestScenario:
    """The scenario of a seed for a guest. Raises `GuestError`."""
    kind = guest_of(core)
    drawn = draw_setting(Draws(seed), kind.nodes)
    return GuestScenario(
        name=f"seed {seed}",
        why="expanded from a seed",
        seed=seed,
        core=core,
        nodes=kind.nodes,
        bound_ms=kind.bound_ms,
        **drawn,
    )


class _Adapted:
    """A guest's core, its effects in the words of the world."""

    def __init__(self, core: Any, others: tuple[int, ...]) -> None:  # noqa: ANN401
        self.core, self._others = core, others

    def handle(self, now_ms: int, event: Any) -> list[Any]:  # noqa: ANN401
        return [self._adapted(one) for one in self.core.handle(now_ms, event)]

    def _adapted(self, effect: Any) -> Any:  # noqa: ANN401
        match effect:
            case Send():
                return effects.Broadcast((effect.to,), effect.message)  # type: ignore[arg-type]
            case Broadcast():
                return effects.Broadcast(self._others, effect.message)  # type: ignore[arg-type]
            case Write():
                return effects.Persist(_DISK, tuple(effect.pairs.items()))  # type: ignore[arg-type]
            case Note():
                return effects.Notify(effect.what)
            case _:
                return effect


class GuestWorld(World):
    """See the module. Make one, `run` it once."""

    vocabulary: ClassVar[Vocabulary] = Vocabulary(Started, Received, TimerFired)

    def __init__(self, scenario: GuestScenario, trace: Trace | None = None) -> None:
        super().__init__(scenario, trace)
        self.guest = guest_of(scenario.core)(scenario.parameters)
        self._nodes = scenario.nodes
        self._decoder = msgspec.msgpack.Decoder(self.guest.messages)
        self._judges_turns = type(self.guest).check is not Guest.check
        self._asked_ms = 0
        self._decided = 0
        self.populate(
            [
                Process(
                    number=node,
                    node=node,
                    address=node,
                    stores={_DISK: MemoryStore()},
                    clock=self.clock_of(node),
                    sync_us=scenario.disk.sync_us,
                    is_honest=node not in scenario.damaged,
                )
                for node in range(scenario.nodes)
            ]
        )
        for process in self.processes:
            self.at(0, self.start, process)
        self.plan_faults()
        for at_ms, node, value in self.guest.requests():
            self._asked_ms = max(self._asked_ms, at_ms)
            self.at(at_ms * 1000, self._ask, self.processes[node], value)
        self.at(TICK_US, self.tick)

    def boot(self, process: Process) -> Core:
        others = (*range(process.node), *range(process.node + 1, self._nodes))
        place = Place(process.node, self._nodes, process.stores[_DISK], self.guest.parameters)
        return _Adapted(self.guest.boot(place), others)

    def decode(self, data: bytes) -> object:
        try:
            return self._decoder.decode(data)
        except msgspec.DecodeError as error:
            raise DecodeError(str(error)) from None

    def _ask(self, process: Process, value: object) -> None:
        self.line(process.name, "request", str(value))
        if process.is_up:
            self.turn(process, process.life, Request(value))

    def has_asked(self, now_ms: int) -> bool:
        return now_ms >= self._asked_ms

    def _cores(self) -> dict[int, Any]:
        return {one.node: one.core.core for one in self.honest if one.core is not None}

    def missing(self) -> str:
        for one in self.honest:
            if not one.is_up:
                return f"{one.name} is down"
        return self.guest.missing(self._cores())

    def height(self) -> int:
        return self._decided

    def describe(self, process: Process) -> str:
        return self.guest.describe(process.core.core)

    def label(self, message: Any) -> str:  # noqa: ANN401 - see World
        return repr(message)

    def on_turn(self, process: Process) -> None:
        del process
        if self._judges_turns:
            self.guest.check(self._cores())

    def on_notify(self, process: Process, what: Any) -> None:  # noqa: ANN401 - see World
        self._decided += 1
        self.marks[f"noted {type(what).__name__}"] += 1
        self.line(process.name, "noted", str(what))
        self.guest.noted(process.node, what)
