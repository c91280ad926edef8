"""Answers checked against the genesis: of the node itself nothing need be believed. See `node/client/proven_lists.py`.

Every conversation raises `NotProvenError` if the answer doesn't hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from consensus.genesis import Genesis
    from consensus.ledger.records import Account, Reputation, Task, TaskState
    from consensus.ledger.state import Table
    from gossip.codec import Wire
    from node.client.conversations import Conversation
    from node.client.proven import ProvenAccount, ProvenBlock, ProvenRecord, ProvenTransaction
    from node.client.proven_lists import ProvenPage, ProvenSeat, Questions

    Record = TypeVar("Record", bound=Wire)

_PAGE = 20


def proven_account(owner: bytes, genesis: Genesis) -> Conversation[ProvenAccount]:
    """What an account holds, or that it doesn't exist."""
    return _questions(genesis).account(owner)


def proven_transaction(name: bytes, genesis: Genesis) -> Conversation[ProvenTransaction]:
    """What came of a transaction."""
    return _questions(genesis).transaction(name)


def proven_block(which: str, genesis: Genesis) -> Conversation[ProvenBlock]:
    """That a block, by its height or whole hash, was committed."""
    return _questions(genesis).block(which)


def proven_record(
    table: Table[Record], name: bytes, genesis: Genesis
) -> Conversation[ProvenRecord[Record]]:
    """What a record of the ledger says, or that there is none.

    The table is one of those in `consensus.ledger.tables.PROVABLE`; validators and parameters are named `THE_ONE`.
    """
    return _questions(genesis).record(table, name)


def proven_accounts(
    genesis: Genesis, limit: int = _PAGE, after: str | None = None
) -> Conversation[ProvenPage[tuple[bytes, Account]]]:
    """A page of accounts with what they hold, the richest first."""
    return _questions(genesis).accounts(limit, after)


def proven_tasks(
    genesis: Genesis,
    *,
    state: TaskState | None = None,
    owner: bytes | None = None,
    executor: bytes | None = None,
    limit: int = _PAGE,
    after: str | None = None,
) -> Conversation[ProvenPage[tuple[bytes, Task]]]:
    """A page of tasks as the ledger has them, by one of state, owner and executor."""
    return _questions(genesis).tasks(limit, after, state=state, owner=owner, executor=executor)


def proven_reputations(
    genesis: Genesis, limit: int = _PAGE, after: str | None = None
) -> Conversation[ProvenPage[tuple[bytes, Reputation]]]:
    """A page of how nodes have done, the best first."""
    return _questions(genesis).reputations(limit, after)


def proven_transactions(
    genesis: Genesis,
    account: bytes | None = None,
    limit: int = _PAGE,
    after: str | None = None,
) -> Conversation[ProvenPage[ProvenTransaction]]:
    """A page of executed transactions with their receipts: all, or those that name an account."""
    return _questions(genesis).transactions(account, limit, after)


def proven_blocks(
    genesis: Genesis, limit: int = _PAGE, before: int | None = None
) -> Conversation[tuple[ProvenBlock, ...]]:
    """The newest blocks, or those below a height; none is left out between them."""
    return _questions(genesis).blocks(limit, before)


def proven_validators(genesis: Genesis) -> Conversation[tuple[ProvenSeat, ...]]:
    """All who vote after the newest block, with their stakes, the strongest first."""
    return _questions(genesis).validators()


def _questions(genesis: Genesis) -> Questions:
    # The command line starts faster without what checks signatures.
    from gossip.identity import Ed25519Verifier  # noqa: PLC0415
    from node.client.proven_lists import Questions  # noqa: PLC0415

    return Questions(genesis, Ed25519Verifier())
