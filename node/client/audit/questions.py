"""The conversations of an audit: bring the copy up, ask the node for a list, and hold it against the copy's own.

A list is compared after the very block that the node answers for. So the list is asked for first, and the copy is
brought to that block and no further; where the node's read models are behind the copy, it is asked again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from consensus.ledger.event_log import Cursor
from consensus.ledger.records import TaskState
from consensus.messages import Blocks
from consensus.receipts import BlockReceipt, EpochLink, read_receipt
from gossip.codec import DecodeError, decode_canonical
from node.client.audit.compare import first_difference
from node.client.audit.copy import AuditError, Copy
from node.client.conversations import Ask, Conversation, Reply
from node.client.paths import page, query
from node.views.ledger import parameters_view, registry_view, validators_view
from node.views.lists import (
    AccountsView,
    ActiveValidatorView,
    EventsView,
    FairnessView,
    LeaderboardView,
    ReputationsView,
    ReputationView,
    TaskRowsView,
    TransactionsView,
)
from node.views.records import ParametersView, RegistryView, ValidatorsView

V = TypeVar("V")

PAGE = 20
_PAUSE_S = 0.1
_PATIENCE_S = 20.0
_TRIES = round(_PATIENCE_S / _PAUSE_S)


@dataclass(frozen=True, slots=True)
class Audited(Generic[V]):
    """The auditor's own answer, to which the node's is equal; it holds after the block at `height`."""

    view: V
    height: int


@dataclass(frozen=True, slots=True)
class Compared:
    """A list that was held against the copy: how much of it, and after which block its last page was."""

    name: str
    items: int
    height: int


def _silent(_: Compared) -> None:
    pass


class Questions:
    """What can be asked in an audit. Every conversation raises `AuditError` at the first thing that doesn't hold."""

    def __init__(self, copy: Copy) -> None:
        self._copy = copy

    @property
    def height(self) -> int:
        """All blocks up to this one have been checked and executed."""
        return self._copy.height

    def catch_up(self, to_height: int | None = None) -> Conversation[int]:
        """Check and execute blocks up to a height, or to where the node's chain ends now; where it stands then."""
        copy, waits = self._copy, 0
        goal = to_height
        while goal is None or copy.height < goal:
            pause_s = _PAUSE_S if waits else 0.0
            reply = yield Ask(f"/api/v2/blocks/certified?from={copy.height + 1}", pause_s=pause_s)
            blocks, known_height = _blocks(reply)
            goal = known_height if goal is None else goal
            # The node certifies a block a moment after it is final.
            waits = 0 if blocks else waits + 1
            if waits > _TRIES:
                raise AuditError(
                    f"the node's answers are of height {goal}, and it hands out no block above {copy.height}"
                )
            for item in blocks[: max(0, goal - copy.height)]:
                if item.block.header.epoch > copy.epoch:
                    copy.hand_over((yield from self._survivors(copy.height + 1)))
                link = None
                if item.state is None:
                    link = yield from self._survivors(copy.height + 2)
                copy.take(item, link, max(known_height, goal))
        copy.project()
        return copy.height

    def _survivors(self, height: int) -> Conversation[EpochLink]:
        """With what word the epoch of the block at a height began; the block before may be the last of its epoch."""
        text = (yield Ask(f"/api/v2/blocks/{height}/proof")).content
        try:
            receipt = read_receipt(text)
        except DecodeError as error:
            raise AuditError(f"the proof of block {height} is none: {error}") from None
        following = self._copy.epoch + 1
        links = receipt.epochs if isinstance(receipt, BlockReceipt) else ()
        for link in links:
            if link.members.epoch == following:
                return link
        raise AuditError(
            f"block {height} is handed out as one of a later epoch than {self._copy.epoch}, or the one before "
            "without the certificate of its state, and its proof does not say who handed over to whom"
        )

    # Lists

    def leaderboard(
        self, limit: int = PAGE, after: str | None = None
    ) -> Conversation[Audited[LeaderboardView]]:
        """Who earned the most by tasks."""
        models, key = self._copy.models, _key(after)
        path = f"leaderboard{page(limit, after)}"
        return self._held(path, lambda _: models.leaderboard(key, limit).view)

    def reputations(
        self, limit: int = PAGE, after: str | None = None
    ) -> Conversation[Audited[ReputationsView]]:
        """How nodes have done, the best first."""
        models, key = self._copy.models, _key(after)
        path = f"reputation{page(limit, after)}"
        return self._held(path, lambda _: models.reputations(key, limit).view)

    def reputation(self, node: bytes) -> Conversation[Audited[ReputationView]]:
        """How one node has done."""
        models = self._copy.models
        return self._held(f"reputation/{node.hex()}", lambda _: models.reputation(node).view)

    def fairness(self) -> Conversation[Audited[FairnessView]]:
        """How evenly rewards fall."""
        models = self._copy.models
        return self._held("fairness", lambda _: models.fairness().view)

    def active_validators(self) -> Conversation[Audited[list[ActiveValidatorView]]]:
        """Who votes, the strongest first."""
        models = self._copy.models
        return self._held("validators/active", lambda _: models.active_validators(500).view)

    def validators(self) -> Conversation[Audited[ValidatorsView]]:
        """Who decides the next block."""
        copy = self._copy
        return self._held("validators", lambda _: validators_view(copy.ledger.validators))

    def registry(self) -> Conversation[Audited[RegistryView]]:
        """All validators and candidates with what is bound to them."""
        copy = self._copy
        return self._held("validators/registry", lambda _: registry_view(copy.ledger))

    def parameters(self) -> Conversation[Audited[ParametersView]]:
        """The constants in force."""
        copy = self._copy
        return self._held("parameters", lambda _: parameters_view(copy.ledger))

    def accounts(
        self, limit: int = PAGE, after: str | None = None
    ) -> Conversation[Audited[AccountsView]]:
        """All accounts, the richest first."""
        models, key = self._copy.models, _key(after)
        path = f"accounts{page(limit, after)}"
        return self._held(path, lambda _: models.accounts(key, limit).view)

    def transactions(
        self, account: bytes | None = None, limit: int = PAGE, after: str | None = None
    ) -> Conversation[Audited[TransactionsView]]:
        """Executed transactions, newest first: all, or those that name an account."""
        models, key = self._copy.models, _key(after)
        place = "" if account is None else f"accounts/{account.hex()}/"
        path = f"{place}transactions{page(limit, after)}"
        return self._held(path, lambda _: models.transactions(account, key, limit).view)

    def ledger_tasks(
        self,
        *,
        state: TaskState | None = None,
        owner: bytes | None = None,
        executor: bytes | None = None,
        limit: int = PAGE,
        after: str | None = None,
    ) -> Conversation[Audited[TaskRowsView]]:
        """Tasks, newest first, by one of state, owner and executor."""
        models, key = self._copy.models, _key(after)
        given = {
            "state": None if state is None else state.value,
            "owner": None if owner is None else owner.hex(),
            "executor": None if executor is None else executor.hex(),
        }
        path = f"ledger/tasks{page(limit, after)}{query(given)}"
        return self._held(path, lambda _: models.tasks(state, owner, executor, key, limit).view)

    def event_log(self, after: str = "0", limit: int = 100) -> Conversation[Audited[EventsView]]:
        """A page of the event log, oldest first."""
        models, cursor = self._copy.models, _cursor(after)
        path = f"events/log?after={after}&limit={limit}"
        return self._held(
            path, lambda height: models.events(cursor, height, limit), only_grows=True
        )

    def _held(
        self, path: str, make: Callable[[int], V], *, only_grows: bool = False
    ) -> Conversation[Audited[V]]:
        """The copy's answer, if the node's is the same; what only grows can be told of any height."""
        copy, pause_s = self._copy, 0.0
        for _ in range(_TRIES):
            reply = yield Ask(f"/api/v2/{path}", pause_s=pause_s)
            height = reply.height
            if height is None:
                raise AuditError(
                    f"the answer to /api/v2/{path} does not say after which block it holds: "
                    "the node is of an older version"
                )
            if height >= copy.height or only_grows:
                if height > copy.height:
                    yield from self.catch_up(height)
                else:
                    copy.project()
                own = make(height)
                _compare(path, height, reply.content, own)
                return Audited(own, height)
            pause_s = _PAUSE_S
        raise AuditError(
            f"the node's read models are behind: its answer to /api/v2/{path} is of an earlier block than "
            f"{copy.height}, up to which its chain is audited; ask again later"
        )

    # All of them

    def everything(
        self, *, whole: bool = False, tell: Callable[[Compared], None] = _silent
    ) -> Conversation[tuple[Compared, ...]]:
        """All lists, to their ends if `whole`, else their first pages."""
        most = 100  # a page
        lists: dict[str, tuple[str, Callable[[str | None], Conversation[Audited[Any]]]]] = {
            "validators": ("validators", lambda _: self.validators()),
            "registry": ("validators", lambda _: self.registry()),
            "parameters": ("", lambda _: self.parameters()),
            "active validators": ("", lambda _: self.active_validators()),
            "fairness": ("", lambda _: self.fairness()),
            "leaderboard": ("leaders", lambda after: self.leaderboard(most, after)),
            "reputation": ("nodes", lambda after: self.reputations(most, after)),
            "accounts": ("accounts", lambda after: self.accounts(most, after)),
            "tasks": ("tasks", lambda after: self.ledger_tasks(limit=most, after=after)),
            "transactions": ("transactions", lambda after: self.transactions(None, most, after)),
            "events": ("events", lambda after: self.event_log(after or "0", 1000)),
        }
        found = []
        for name, (field, ask) in lists.items():
            one = yield from self._walked(name, field, ask, whole=whole)
            tell(one)
            found.append(one)
        return tuple(found)

    def _walked(
        self,
        name: str,
        field: str,
        ask: Callable[[str | None], Conversation[Audited[Any]]],
        *,
        whole: bool,
    ) -> Conversation[Compared]:
        after, items = None, 0
        while True:
            audited = yield from ask(after)
            view = audited.view
            rows = getattr(view, field) if field else view
            count = len(rows) if isinstance(rows, list | tuple) else 1
            items += count
            following = getattr(view, "next", None)
            if not whole or following is None or count == 0:
                return Compared(name, items, audited.height)
            after = following


def _compare(path: str, height: int, told: bytes, own: object) -> None:
    try:
        answer = msgspec.json.decode(told)
    except (msgspec.DecodeError, RecursionError) as error:
        raise AuditError(f"the answer to /api/v2/{path} is no JSON: {error}") from None
    fault = first_difference(answer, msgspec.json.decode(msgspec.json.encode(own)))
    if fault is not None:
        raise AuditError(f"the answer to /api/v2/{path}, after block {height}, is false: {fault}")


def _blocks(reply: Reply) -> tuple[tuple[Any, ...], int]:
    try:
        blocks = decode_canonical(reply.content, Blocks).blocks
    except DecodeError as error:
        raise AuditError(f"what the node hands out are no blocks: {error}") from None
    if reply.height is None:
        raise AuditError("the node does not say how far its certified chain goes")
    return blocks, reply.height


def _cursor(after: str) -> Cursor:
    """A place in the event log. Raises `AuditError`."""
    try:
        return Cursor.parse(after)
    except ValueError as error:
        raise AuditError(str(error)) from None


def _key(after: str | None) -> bytes | None:
    """Where the page begins. Raises `AuditError`."""
    try:
        return None if after is None else bytes.fromhex(after)
    except ValueError:
        raise AuditError(f"{after!r:.90} is not what a former page gave as `next`") from None
