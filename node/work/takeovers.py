"""Plain tasks whose executor has vanished, or declined them: given to another node before their deadline.

The ledger never takes a claim from its executor before the deadline, or an asker could take an output and give the
claim to somebody else. So another node gets a task of its own with the same input, reward and what time is left, and
the first reward returns after the deadline. Should the first executor come back in time, both are paid. What nobody has
claimed returns at once; where no other node can have it, the task has failed.
"""

from __future__ import annotations

from typing import Final

import structlog
import trio

from gossip.codec import Digest
from gossip.identity import NodeId
from gossip.membership.notices import Liveness
from inference.asker import AskedTask
from inference.placement import Place
from node.chain.own_account import NotTakenError
from node.driver import now_ms
from node.peers.service import PeerService
from node.views.facade import MIN_DEADLINE_S
from node.work.service import TaskService

log = structlog.get_logger(__name__)

_LOOK_S: Final = 0.5
_MOST_PLACES: Final = 8
"""What so many nodes would not or could not do is not asked of more."""
_LEAST_LEFT_MS: Final = 1000 * (MIN_DEADLINE_S + 1)


class TakeOvers:
    """Watches the executors of this node's tasks. `own_kinds` are those that it does itself."""

    def __init__(self, tasks: TaskService, peers: PeerService, own_kinds: tuple[str, ...]) -> None:
        self._tasks, self._peers, self._own_kinds = tasks, peers, own_kinds

    async def run(self) -> None:
        """Look again and again while somebody waits."""
        while True:
            waiting = self._tasks.desk.movable()
            gone = self._gone() if waiting else frozenset()
            for record in waiting:
                if self._tasks.desk.was_declined(Digest(record.task)):
                    await self._hand_on(record, "declined it")
                elif NodeId(record.executor) in gone:
                    await self._hand_on(record, "is gone")
            await trio.sleep(_LOOK_S)

    def _gone(self) -> frozenset[NodeId]:
        there = (Liveness.ALIVE, Liveness.SUSPECT)
        table = self._peers.membership.table()
        return frozenset(entry.node_id for entry in table if entry.status not in there)

    async def _hand_on(self, record: AskedTask, why: str) -> None:
        if record.deadline_ms - now_ms() < _LEAST_LEFT_MS:
            return
        had = self._had(record)
        able = [one.node_id for one in self._peers.membership.candidates(record.kind)]
        if record.kind in self._own_kinds:
            able.append(self._peers.link.node_id)
        chosen = next((node for node in able if node not in had), None)
        if chosen is None or len(had) >= _MOST_PLACES:
            self._tasks.nobody_else(Digest(record.task))
            return
        lost = record.executor.hex()[:12]
        place = Place(
            chosen, f"the executor {lost} {why}; the best reachable node that has not had it"
        )
        try:
            await self._tasks.hand_on(record, place)
        except NotTakenError as error:
            log.warning("task not handed on", task=record.task.hex(), reason=str(error))

    def _had(self, record: AskedTask) -> set[NodeId]:
        """Who has had this work already."""
        had, at = {NodeId(record.executor)}, record
        while at.instead_of is not None:
            older = self._tasks.desk.find(Digest(at.instead_of))
            if older is None:
                break
            had.add(NodeId(older.executor))
            at = older
        return had
