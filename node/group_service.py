"""Groups of tasks in the daemon: handed in, offered for, and shown."""

from __future__ import annotations

from consensus.ledger.machine import Ledger
from consensus.operations.groups import MAX_REDUNDANCY, OfferKinds, member_id
from gossip.codec import Digest
from inference.asker import Stage
from inference.kinds import TaskInput, encode_input, kind_of
from inference.placement import GroupSize, NoPlaceError
from node.chain.own_account import NotTakenError
from node.service import NodeService, not_taken
from node.views.facade import Problem
from node.views.records import GroupView, OfferingView
from node.work.service import TaskService


class GroupService:
    """What the gateway asks of groups. Deeds raise `Problem`."""

    def __init__(self, service: NodeService, tasks: TaskService, ledger: Ledger) -> None:
        self._service, self._tasks, self._ledger = service, tasks, ledger

    async def submit(
        self, given: TaskInput, size: GroupSize, *, reward: int | None, deadline_s: int | None
    ) -> GroupView:
        """Hand in the same task for several nodes; returns when the group has its id."""
        self._service.members_only()
        try:
            group = await self._tasks.place_group(
                kind_of(given), encode_input(given), size, reward=reward, deadline_s=deadline_s
            )
        except NoPlaceError as error:
            raise Problem(409, "no_executor", str(error)) from None
        except NotTakenError as error:
            raise not_taken(error) from None
        return GroupView(group_id=group.hex(), verdict="pending")

    def view(self, group: Digest) -> GroupView | None:
        """A group as the ledger has it, or as this node has handed it in; None if neither knows it."""
        known = self._ledger.group(group)
        if known is None:
            return self._handed_in(group)
        tasks = [self._service.task(Digest(name)) for name in known.tasks]
        return GroupView(
            group_id=group.hex(),
            verdict=known.verdict.value,
            agreement=known.agreement,
            rule=known.rule.value,
            drawn=known.is_drawn,
            deadline_ms=known.deadline_ms,
            tasks=tuple(one for one in tasks if one is not None),
        )

    def _handed_in(self, group: Digest) -> GroupView | None:
        """A group that the ledger does not have: not yet, or it refused it."""
        names = [member_id(group, place) for place in range(MAX_REDUNDANCY)]
        tasks = [one for name in names if (one := self._service.task(name)) is not None]
        if not tasks:
            return None
        is_refused = all(one.status == Stage.FAILED.value for one in tasks)
        return GroupView(
            group_id=group.hex(), verdict="refused" if is_refused else "pending", tasks=tuple(tasks)
        )

    async def offer(self, kinds: tuple[str, ...]) -> OfferingView:
        """Say on the ledger which kinds it may give this node; returns when the transaction waits."""
        self._service.members_only()
        transaction = await self._service.transact(OfferKinds(kinds))
        return OfferingView(kinds=kinds, tx_hash=transaction.id.hex(), status="pending")
