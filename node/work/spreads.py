"""Spreads in the daemon: parts handed in as tasks and followed to their end, nodes watched for those that vanish."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

import trio

from gossip.codec import Digest
from gossip.identity import NodeId
from gossip.membership.notices import Liveness
from inference.asker import AskedTask, Stage
from inference.kinds import KINDS, TaskInput, encode_input, kind_of
from inference.placement import Place
from inference.spread import (
    FollowPart,
    NodesChanged,
    PartEnded,
    PartPlaced,
    PlacePart,
    Spread,
    SpreadAsked,
    SpreadDropped,
)
from node.chain.own_account import NotTakenError
from node.driver import now_ms
from node.errors import NodeError
from node.peers.service import PeerService
from node.rounds import next_round
from node.work.foreman import ForemanService
from node.work.service import Follower, TaskService

DEADLINE_S: Final = 15 * 60
PART_DEADLINE_S: Final = 120
"""How long one node has for a part, if the spread's own deadline is not sooner."""
_LOOK_S: Final = 0.5
_IDLE_S: Final = 1.0


class SpreadRefusedError(NodeError):
    """No more spreads are taken; the text says why."""


class SpreadService:
    """Carries out what the spread core asks for."""

    def __init__(
        self,
        foreman: ForemanService,
        tasks: TaskService,
        peers: PeerService,
        own_kinds: tuple[str, ...],
        nursery: trio.Nursery,
    ) -> None:
        self._foreman, self._tasks, self._peers = foreman, tasks, peers
        self._own_kinds, self._nursery = own_kinds, nursery
        self._told: NodesChanged | None = None
        foreman.on_spread = self._carry_out

    async def run(self) -> None:
        """Watch who is there, while something is under way."""
        while True:
            is_idle = self._foreman.core.spreads.is_idle
            if not is_idle:
                now = self._nodes()
                if now != self._told:
                    self._told = now
                    self._foreman.post(now)
            await next_round(_IDLE_S if is_idle else _LOOK_S)

    def _nodes(self) -> NodesChanged:
        own = self._peers.link.node_id
        able = {}
        for kind in KINDS:
            peers = tuple(one.node_id for one in self._peers.membership.candidates(kind))
            able[kind] = (*peers, own) if kind in self._own_kinds else peers
        there = {own}
        for entry in self._peers.membership.table():
            if entry.status in (Liveness.ALIVE, Liveness.SUSPECT):
                there.add(entry.node_id)
        known = {entry.node_id for entry in self._peers.membership.table()}
        return NodesChanged(able, frozenset(known - there))

    async def ask(self, given: TaskInput, deadline_s: int | None) -> Spread:
        """Begin; returns when it is on disk. Raises `SpreadRefusedError`."""
        refusal = self._foreman.core.spreads.refusal()
        if refusal is not None:
            raise SpreadRefusedError(refusal)
        now = now_ms()
        spread = Spread(
            id=secrets.token_bytes(32),
            kind=kind_of(given),
            since_ms=now,
            deadline_ms=now + 1000 * (deadline_s or DEADLINE_S),
        )
        self._foreman.post(self._nodes())
        self._foreman.post(SpreadAsked(spread, encode_input(given)))
        await self._foreman.caught_up()
        found = self._foreman.core.spreads.find(Digest(spread.id))
        assert found is not None
        return found

    async def drop(self, name: Digest) -> None:
        """Cancel one: parts that nobody has claimed are taken back."""
        spread = self._foreman.core.spreads.find(name)
        self._foreman.post(SpreadDropped(name))
        await self._foreman.caught_up()
        for part in () if spread is None else spread.parts:
            if part.is_under_way and part.tries[-1].task is not None:
                self._tasks.withdraw(Digest(part.tries[-1].task))

    def _carry_out(self, effect: PlacePart | FollowPart) -> None:
        if isinstance(effect, PlacePart):
            self._nursery.start_soon(self._place, effect)
        else:
            self._follow(effect)

    async def _place(self, effect: PlacePart) -> None:
        name, part, executor = effect.spread, effect.part, effect.executor
        left_s = max(2, (effect.deadline_ms - now_ms()) // 1000)
        place = Place(executor, f"part {part + 1} of a spread, the least busy node for it")
        try:
            record = await self._tasks.place(
                effect.kind,
                effect.content,
                place,
                reward=None,
                deadline_s=min(left_s, PART_DEADLINE_S),
                follower=_Watch(lambda record: self._on_record(name, part, executor, record)),
            )
        except NotTakenError as error:
            self._foreman.post(PartEnded(name, part, executor, None, f"not taken: {error}"))
            return
        self._foreman.post(PartPlaced(name, part, executor, Digest(record.task)))
        self._on_record(name, part, executor, self._tasks.desk.find(Digest(record.task)))

    def _follow(self, effect: FollowPart) -> None:
        watch = _Watch(
            lambda record: self._on_record(effect.spread, effect.part, effect.executor, record)
        )
        self._tasks.follow(effect.task, watch)
        record = self._tasks.desk.find(effect.task)
        if record is None:
            self._foreman.post(
                PartEnded(effect.spread, effect.part, effect.executor, None, "the task is gone")
            )
        else:
            self._on_record(effect.spread, effect.part, effect.executor, record)

    def _on_record(
        self, name: Digest, part: int, executor: NodeId, record: AskedTask | None
    ) -> None:
        if record is None or record.is_open:
            return
        output = None
        if record.stage is Stage.SETTLED:
            output = self._tasks.desk.output(Digest(record.task))
        self._foreman.post(PartPlaced(name, part, executor, Digest(record.task)))
        self._foreman.post(PartEnded(name, part, executor, output, record.reason or "no output"))


class _Watch(Follower):
    """Hears how a task ends."""

    def __init__(self, on_record: Callable[[AskedTask], None]) -> None:
        super().__init__()
        self._heard = on_record

    def on_record(self, record: AskedTask) -> None:
        """The task's record has changed."""
        self._heard(record)
