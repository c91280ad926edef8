"""A scenario: everything that happens to a federation from outside, as one frozen, printable value.

Nodes are numbered: founders first, then those who join. `worlds/setting.py` has what is not about federations.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from consensus.messages import MOST_WHOLE_CHANGES
from consensus.pbft.reports import COLLECTED_FROM
from consensus.quorum import MAX_VALIDATORS
from inference.asker import GRACE_MS
from simulations.worlds.faults import Ms, Node, Ppm, Value
from simulations.worlds.setting import Setting, setting_fault

ActorKind = Literal[
    "silent",
    "silent_leader",
    "slow",
    "equivocator",
    "malformed_proposer",
    "double_voter",
    "spammer",
    "mutator",
    "forger",
    "divider",
    "lying_server",
    "withholder",
    "weaver",
    "impersonator",
    "censor",
    "usurper",
    "state_liar",
    "alarmist",
    "two_faced",
    "twin",
    "snapshot_liar",
    "mute_collector",
    "lying_collector",
    "false_namer",
]


COLLECTORS: tuple[ActorKind, ...] = ("mute_collector", "lying_collector", "false_namer")
"""Who lies in the ways that only a large set knows."""


class Actor(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node that lies, in one of the ways of `simulations.liars.adversaries`."""

    node: Node
    kind: ActorKind


class Delays(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The protocol's timers."""

    progress_ms: Ms = 1_000
    progress_cap_ms: Ms = 8_000
    status_ms: Ms = 500
    drift_ms: Ms = 5_000


class Clients(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What users ask for: each honest founder's user sends this many transactions, one each interval."""

    transactions: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 10
    interval_ms: Ms = 100
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    """So many at a time."""
    only: tuple[Node, ...] = ()
    """If not empty, only the users of these founders ask for anything."""


class Snapshots(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What nodes do about snapshots of the ledger's state."""

    every: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 4
    """After so many blocks each makes one."""
    behind: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 8
    """Who is so many blocks behind takes one."""


WorkerKind = Literal[
    "dropper",
    "vanisher",
    "keeper",
    "garbler",
    "second_receipt",
    "wrong_answers",
    "mute_asker",
    "stranger",
    "grabber",
]


class Worker(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node that is sound in consensus and lies about tasks, in one of the ways of `simulations.tasks.workers`."""

    node: Node
    kind: WorkerKind


class Tasks(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each honest founder's user asks other nodes to do; with `count` at 0 the nodes run consensus only."""

    count: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    interval_ms: Ms = 500
    deadline_ms: Annotated[int, msgspec.Meta(ge=2_000, le=600_000)] = 20_000
    """How long after asking the executor has time."""
    work_ms: Ms = 200
    """A task takes up to so long."""
    group_ppm: Ppm = 0
    """This share is done by three nodes each, of which two must agree."""
    fail_ppm: Ppm = 0
    """This share cannot be done by whoever tries."""
    cancel_ppm: Ppm = 0
    """This share is taken back soon after it was asked for."""
    again: Annotated[int, msgspec.Meta(ge=0, le=10)] = 1
    """So often what failed is handed to another node."""
    reveal_ms: Annotated[int, msgspec.Meta(ge=1_000, le=60_000)] = 5_000


class Deed(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a founder's operator does with the registry: binds money to a validator, or rotates its voting key."""

    node: Node
    at_ms: Ms
    to: Node | None = None
    """Whose power grows; None: the own key is rotated."""
    power: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0


class Upgrade(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The federation goes on to protocol 2 (`simulations.upgrades`) while it runs."""

    at_ms: Ms = 500
    """From then on operators whose program knows it say their word for it."""
    late: tuple[Node, ...] = ()
    """The founders whose program knows protocol 1 only."""
    late_ms: Ms = 3_000
    """When they install the newer one."""


class Scenario(Setting, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See the module."""

    weights: Annotated[tuple[int, ...], msgspec.Meta(min_length=1, max_length=MAX_VALIDATORS)]
    """One founder each."""
    joiners: Annotated[tuple[Ms, ...], msgspec.Meta(max_length=20)] = ()
    """When more nodes ask to be let in and then seated."""
    signatures: Literal["keyed_hash", "ed25519"] = "keyed_hash"
    max_block_txs: Annotated[int, msgspec.Meta(ge=1, le=2_000)] = 50
    collected_from: Annotated[int, msgspec.Meta(ge=1, le=MAX_VALIDATORS + 1)] = COLLECTED_FROM
    """From so many validators on votes go through collectors."""
    clients: Clients = Clients()
    delays: Delays = Delays()
    actors: tuple[Actor, ...] = ()
    snapshots: Snapshots | None = None
    """None: nobody makes any, and whoever is behind fetches every block."""
    by_stake: bool = False
    """Votes weigh by stake, and contradictions are punished; else as admission says, and nobody tells of them."""
    deeds: Annotated[tuple[Deed, ...], msgspec.Meta(max_length=100)] = ()
    upgrade: Upgrade | None = None
    """None: it stays with protocol 1."""
    tasks: Tasks = Tasks()
    workers: tuple[Worker, ...] = ()

    @property
    def founders(self) -> int:
        """How many nodes there are from the start."""
        return len(self.weights)

    @property
    def nodes(self) -> int:
        """How many nodes there are in the end."""
        return len(self.weights) + len(self.joiners)

    @property
    def liars(self) -> frozenset[int]:
        """Nodes of which nothing is asked: actors, and those whose disks break their promises."""
        return self.damaged | {actor.node for actor in self.actors}

    @property
    def bound_ms(self) -> int:
        """By when after healing everything asked for must have happened.

        A view that fails costs at most a timeout and the wait for somebody else's suspicion, every timeout is at most
        the cap; each liar can fail a view when its turn comes, in each epoch again.
        """
        views = 4 + 3 * len(self.actors)
        epochs = 1 + len(self.joiners)
        if self.by_stake:
            epochs += 2 * len(self.actors) + 2 * len(self.deeds)
        timeouts = 2 * views * epochs * self.delays.progress_cap_ms
        beats = 40 * self.delays.status_ms
        blocks = 60 * self.clients.transactions * self.nodes if self.actors else 0
        return timeouts + beats + blocks + self._tasks_ms

    @property
    def _tasks_ms(self) -> int:
        """A task ends by its deadline, or a minute later if its output may still come; then it may be asked for again.

        A refused transaction is tried again after ten seconds, and a group has two more spans to reveal and compare.
        """
        tasks = self.tasks
        if not tasks.count:
            return 0
        one_ms = tasks.deadline_ms + GRACE_MS + 2 * tasks.reveal_ms + 60_000
        return (1 + tasks.again) * one_ms


def fault_of(scenario: Scenario) -> str | None:
    """What is wrong with a scenario although every field by itself is right, or None."""
    for place, actor in enumerate(scenario.actors):
        if actor.node >= scenario.founders:
            return (
                f"actors[{place}]: node {actor.node} is no founder (0 to {scenario.founders - 1})"
            )
        idle = _idle(scenario, actor.kind)
        if idle is not None:
            return f"actors[{place}].kind: a {actor.kind} {idle}"
    if len({actor.node for actor in scenario.actors}) < len(scenario.actors):
        return "actors: a node stands twice"
    if any(weight < 1 for weight in scenario.weights):
        return "weights: every weight is at least 1"
    lying = sum(scenario.weights[node] for node in scenario.liars if node < scenario.founders)
    if 3 * lying >= sum(scenario.weights):
        return f"actors: they hold {lying} of {sum(scenario.weights)}; a third is more than any protocol bears"
    return (
        _deeds_fault(scenario)
        or _upgrade_fault(scenario)
        or _tasks_fault(scenario)
        or setting_fault(scenario)
    )


def _idle(scenario: Scenario, kind: ActorKind) -> str | None:
    """Why a liar of this kind would do nothing here, or None."""
    if kind == "snapshot_liar" and scenario.snapshots is None:
        return "has nothing to lie about; say snapshots = { every = 4, behind = 8 }"
    names = kind == "false_namer" and scenario.nodes > MOST_WHOLE_CHANGES
    if kind in COLLECTORS and scenario.nodes < scenario.collected_from and not names:
        return (
            f"lies only where votes go through collectors, which is from {scenario.collected_from} validators on,"
            f" and there are at most {scenario.nodes}; say collected_from = {min(4, scenario.nodes)}"
        )
    return None


def _deeds_fault(scenario: Scenario) -> str | None:
    if scenario.deeds and not scenario.by_stake:
        return "deeds: they are for scenarios with by_stake = true"
    for place, deed in enumerate(scenario.deeds):
        for node in (deed.node, deed.node if deed.to is None else deed.to):
            if node >= scenario.founders:
                return f"deeds[{place}]: node {node} is no founder (0 to {scenario.founders - 1})"
        if deed.node in scenario.liars:
            return f"deeds[{place}]: node {deed.node} lies, and has no honest operator"
        if deed.to is not None and not deed.power:
            return f"deeds[{place}]: power = 0 binds nothing"
    apart = {(deed.node, deed.at_ms if deed.to is None else None) for deed in scenario.deeds}
    if len(apart) < len(scenario.deeds):
        return "deeds: a node binds money once, and rotates its key once at a time"
    return None


def _upgrade_fault(scenario: Scenario) -> str | None:
    upgrade = scenario.upgrade
    if upgrade is None:
        return None
    for node in upgrade.late:
        if node >= scenario.founders:
            return f"upgrade.late: node {node} is no founder (0 to {scenario.founders - 1})"
        if node in scenario.liars:
            return f"upgrade.late: node {node} lies; whatever its program knows, nothing is asked of it"
    if max(upgrade.at_ms, upgrade.late_ms) > scenario.heal_ms:
        return f"upgrade: all of it happens by heal_ms = {scenario.heal_ms}"
    if scenario.tasks.count:
        return "upgrade: tasks are for scenarios without it"
    return None


def _tasks_fault(scenario: Scenario) -> str | None:
    workers = scenario.workers
    for place, worker in enumerate(workers):
        if worker.node >= scenario.founders:
            return (
                f"workers[{place}]: node {worker.node} is no founder (0 to {scenario.founders - 1})"
            )
    if len({worker.node for worker in workers}) < len(workers):
        return "workers: a node stands twice"
    if workers and not scenario.tasks.count:
        return "workers: nobody asks for anything; set tasks.count"
    if scenario.tasks.count and scenario.founders < 2:  # noqa: PLR2004 - somebody else
        return "tasks: there must be another node to do them"
    if scenario.tasks.count and (scenario.joiners or scenario.snapshots is not None):
        return "tasks: joiners and snapshots are for scenarios without tasks"
    if scenario.tasks.count and any(actor.kind == "twin" for actor in scenario.actors):
        return "tasks: a twin would do the tasks of both; take another kind of actor"
    return None
