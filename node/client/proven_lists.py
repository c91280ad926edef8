"""Questions whose answers are checked against the genesis, apart from how they are asked.

Each is a conversation, and what it returns is proven.

A list comes from the node's read models and is worth nothing by itself; each item is proven by the ledger, after one
block, and what the ledger says counts. Whether a page is whole no proof shows but where the ledger itself is: the
validators are one record, blocks name the one before, and nonces count what an account has sent. For the rest there
are audits (`node/client/audit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from consensus.genesis import Genesis
from consensus.ledger.event_log import parties_of
from consensus.ledger.records import Account, Reputation, StakeRecord, Task, TaskState
from consensus.ledger.standing import FIRST_SCORE
from consensus.ledger.state import Table
from consensus.ledger.tables import ACCOUNTS, LISTED, REPUTATION, STAKES, TASKS, THE_ONE, VALIDATORS
from consensus.quorum import Validator
from consensus.receipts import MAX_ITEMS
from gossip.codec import Wire
from gossip.identity import Verifier
from node.client.conversations import Ask, Conversation
from node.client.paths import path_part
from node.client.proven import (
    NotProvenError,
    ProvenAccount,
    ProvenBlock,
    ProvenRecord,
    ProvenTransaction,
    proven_account,
    proven_block,
    proven_record,
    proven_records,
    proven_transaction,
)
from node.views.lists import (
    AccountsView,
    ReputationsView,
    TaskRowsView,
    TransactionsView,
)
from node.views.records import BlocksView

_V = TypeVar("_V", bound=Wire)
_T = TypeVar("_T")
_Page = TypeVar("_Page")

_WORDS = {table.prefix: word for word, table in LISTED.items()}


@dataclass(frozen=True, slots=True)
class ProvenPage(Generic[_T]):
    """A page of a list whose items are proven; `next` asks for the page after it."""

    items: tuple[_T, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class ProvenSeat:
    """A validator: its seat, and what is bound to it, by itself and by others."""

    seat: Validator
    stake: int


@dataclass(frozen=True, slots=True)
class Questions:
    """What can be asked of any node of one federation."""

    genesis: Genesis
    verifier: Verifier

    def account(self, owner: bytes) -> Conversation[ProvenAccount]:
        """What an account holds, or that it doesn't exist."""
        text = (yield Ask(f"/api/v2/accounts/{owner.hex()}/proof")).content
        return proven_account(text, owner, self.genesis, self.verifier)

    def transaction(self, name: bytes) -> Conversation[ProvenTransaction]:
        """What came of a transaction."""
        text = (yield Ask(f"/api/v2/transactions/{name.hex()}/receipt")).content
        return proven_transaction(text, name, self.genesis, self.verifier)

    def block(self, which: str) -> Conversation[ProvenBlock]:
        """That a block was committed."""
        text = (yield Ask(f"/api/v2/blocks/{path_part(which)}/proof")).content
        return proven_block(text, which, self.genesis, self.verifier)

    def record(self, table: Table[_V], name: bytes) -> Conversation[ProvenRecord[_V]]:
        """What a record of the ledger says, or that there is none."""
        query = f"?id={name.hex()}" if name else ""
        text = (yield Ask(f"/api/v2/proofs/{_WORDS[table.prefix]}{query}")).content
        return proven_record(text, table, name, self.genesis, self.verifier)

    def records(
        self, wanted: Sequence[tuple[Table[Any], bytes]]
    ) -> Conversation[tuple[ProvenRecord[Any], ...]]:
        """Several, after one block as long as they are no more than a page."""
        found: list[ProvenRecord[Any]] = []
        for at in range(0, len(wanted), MAX_ITEMS):
            piece = wanted[at : at + MAX_ITEMS]
            names = [_named(table, name) for table, name in piece]
            text = (yield Ask("/api/v2/proofs", msgspec.json.encode({"records": names}))).content
            found += proven_records(text, piece, self.genesis, self.verifier)
        return tuple(found)

    def _existing(
        self, table: Table[_V], names: Sequence[bytes]
    ) -> Conversation[list[tuple[bytes, _V]]]:
        """Records that a list has named, so that they must be there."""
        proven = yield from self.records([(table, name) for name in names])
        found: list[tuple[bytes, _V]] = []
        for name, one in zip(names, proven, strict=True):
            if one.record is None:
                raise NotProvenError(
                    f"the list has {name.hex()}, and the ledger has no such record"
                )
            found.append((name, one.record))
        return found

    def accounts(
        self, limit: int, after: str | None
    ) -> Conversation[ProvenPage[tuple[bytes, Account]]]:
        """Accounts with what they hold, the richest of the page first."""
        page = yield from _page(AccountsView, "accounts", limit, after)
        names = [_id(one.id) for one in page.accounts]
        found = yield from self._existing(ACCOUNTS, names)
        found.sort(key=_by_balance)
        return ProvenPage(tuple(found), page.next)

    def tasks(
        self,
        limit: int,
        after: str | None,
        *,
        state: TaskState | None = None,
        owner: bytes | None = None,
        executor: bytes | None = None,
    ) -> Conversation[ProvenPage[tuple[bytes, Task]]]:
        """Tasks as the ledger has them now; one that has moved on since the list was made is shown as it is."""
        query = {
            "state": None if state is None else state.value,
            "owner": None if owner is None else owner.hex(),
            "executor": None if executor is None else executor.hex(),
        }
        page = yield from _page(TaskRowsView, "ledger/tasks", limit, after, query)
        names = [_id(one.task_id) for one in page.tasks]
        found = yield from self._existing(TASKS, names)
        for name, task in found:
            if owner is not None and task.submitter != owner:
                raise NotProvenError(f"the task {name.hex()} is not one of {owner.hex()}")
        return ProvenPage(tuple(found), page.next)

    def reputations(
        self, limit: int, after: str | None
    ) -> Conversation[ProvenPage[tuple[bytes, Reputation]]]:
        """How nodes have done, the best of the page first; without a record a node stands where all begin."""
        page = yield from _page(ReputationsView, "reputation", limit, after)
        names = [_id(one.id) for one in page.nodes]
        proven = yield from self.records([(REPUTATION, name) for name in names])
        records = [one.record or Reputation(FIRST_SCORE) for one in proven]
        found = sorted(zip(names, records, strict=True), key=_by_score)
        return ProvenPage(tuple(found), page.next)

    def transactions(
        self, account: bytes | None, limit: int, after: str | None
    ) -> Conversation[ProvenPage[ProvenTransaction]]:
        """Executed transactions, each with its receipt; all that name an account, if one is given."""
        place = "" if account is None else f"accounts/{account.hex()}/"
        page = yield from _page(TransactionsView, f"{place}transactions", limit, after)
        found: list[ProvenTransaction] = []
        for row in page.transactions:
            one = yield from self.transaction(_id(row.tx_hash))
            if account is not None and account not in parties_of(one.transaction):
                raise NotProvenError(f"{row.tx_hash} does not name the account {account.hex()}")
            found.append(one)
        return ProvenPage(tuple(found), page.next)

    def blocks(self, limit: int, before: int | None) -> Conversation[tuple[ProvenBlock, ...]]:
        """Committed blocks, the newest first, none left out between them."""
        below = "" if before is None else f"&before={before}"
        text = (yield Ask(f"/api/v2/blocks?limit={limit}{below}")).content
        found: list[ProvenBlock] = []
        for row in _read(text, BlocksView).blocks:
            one = yield from self.block(str(row.height))
            if found and found[-1].prev_hash != one.block_hash:
                raise NotProvenError(f"block {one.height} is not the one before {found[-1].height}")
            found.append(one)
        return tuple(found)

    def validators(self) -> Conversation[tuple[ProvenSeat, ...]]:
        """All who vote after the newest block, with their stakes, the strongest first."""
        proven = yield from self.record(VALIDATORS, THE_ONE)
        if proven.record is None:
            raise NotProvenError("the ledger has no validators: it is no ledger")
        seats = proven.record.validators
        stakes = yield from self.records([(STAKES, seat.node) for seat in seats])
        found = [
            ProvenSeat(seat, _bonded(stake.record))
            for seat, stake in zip(seats, stakes, strict=True)
        ]
        return tuple(sorted(found, key=_by_power))


def _bonded(stake: StakeRecord | None) -> int:
    """Nothing for a seat by grant alone."""
    return 0 if stake is None else stake.bonded


def _by_power(one: ProvenSeat) -> tuple[int, int, bytes]:
    return -one.seat.power, -one.stake, one.seat.node


def _by_balance(one: tuple[bytes, Account]) -> tuple[int, bytes]:
    return -one[1].balance, one[0]


def _by_score(one: tuple[bytes, Reputation]) -> tuple[int, bytes]:
    return -one[1].score, one[0]


def _named(table: Table[Any], name: bytes) -> dict[str, str]:
    word = {"record": _WORDS[table.prefix]}
    return word | {"id": name.hex()} if name else word


def _page(
    kind: type[_Page],
    path: str,
    limit: int,
    after: str | None,
    query: dict[str, str | None] | None = None,
) -> Conversation[_Page]:
    given = {"after": after, **(query or {})}
    rest = "".join(f"&{name}={value}" for name, value in given.items() if value is not None)
    text = (yield Ask(f"/api/v2/{path}?limit={limit}{rest}")).content
    return _read(text, kind)


def _read(text: bytes, kind: type[_Page]) -> _Page:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise NotProvenError(f"the list is not one of this version: {error}") from None


def _id(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise NotProvenError(f"{text[:80]!r} in the list is no id") from None
