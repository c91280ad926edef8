"""Answers checked against the genesis: of the node itself nothing need be believed. See `node/proven_lists.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from node.calls.base import Calls

if TYPE_CHECKING:
    from pathlib import Path

    from consensus.genesis import Genesis
    from consensus.ledger.records import Account, Reputation, Task, TaskState
    from consensus.ledger.state import Table
    from consensus.verify import Trust
    from gossip.codec import Wire
    from node.chain_audit.audits import Audit
    from node.chain_audit.copy import Progress
    from node.proven import ProvenAccount, ProvenBlock, ProvenRecord, ProvenTransaction
    from node.proven_lists import ProvenPage, ProvenSeat, Questions

    Record = TypeVar("Record", bound=Wire)

_PAGE = 20


class ProvenCalls(Calls):
    """Every method raises `NotProvenError` if the answer doesn't hold."""

    def proven_account(self, owner: bytes, genesis: Genesis) -> ProvenAccount:
        """What an account holds, or that it doesn't exist."""
        return self.hold(_questions(genesis).account(owner))

    def proven_transaction(self, name: bytes, genesis: Genesis) -> ProvenTransaction:
        """What came of a transaction."""
        return self.hold(_questions(genesis).transaction(name))

    def proven_block(self, which: str, genesis: Genesis) -> ProvenBlock:
        """That a block, by its height or whole hash, was committed."""
        return self.hold(_questions(genesis).block(which))

    def proven_record(
        self, table: Table[Record], name: bytes, genesis: Genesis
    ) -> ProvenRecord[Record]:
        """What a record of the ledger says, or that there is none.

        The table is one of those in `consensus.ledger.tables.PROVABLE`; validators and parameters are named `THE_ONE`.
        """
        return self.hold(_questions(genesis).record(table, name))

    def proven_accounts(
        self, genesis: Genesis, limit: int = _PAGE, after: str | None = None
    ) -> ProvenPage[tuple[bytes, Account]]:
        """A page of accounts with what they hold, the richest first."""
        return self.hold(_questions(genesis).accounts(limit, after))

    def proven_tasks(
        self,
        genesis: Genesis,
        *,
        state: TaskState | None = None,
        owner: bytes | None = None,
        executor: bytes | None = None,
        limit: int = _PAGE,
        after: str | None = None,
    ) -> ProvenPage[tuple[bytes, Task]]:
        """A page of tasks as the ledger has them, by one of state, owner and executor."""
        asked = _questions(genesis).tasks(limit, after, state=state, owner=owner, executor=executor)
        return self.hold(asked)

    def proven_reputations(
        self, genesis: Genesis, limit: int = _PAGE, after: str | None = None
    ) -> ProvenPage[tuple[bytes, Reputation]]:
        """A page of how nodes have done, the best first."""
        return self.hold(_questions(genesis).reputations(limit, after))

    def proven_transactions(
        self,
        genesis: Genesis,
        account: bytes | None = None,
        limit: int = _PAGE,
        after: str | None = None,
    ) -> ProvenPage[ProvenTransaction]:
        """A page of executed transactions with their receipts: all, or those that name an account."""
        return self.hold(_questions(genesis).transactions(account, limit, after))

    def proven_blocks(
        self, genesis: Genesis, limit: int = _PAGE, before: int | None = None
    ) -> tuple[ProvenBlock, ...]:
        """The newest blocks, or those below a height; none is left out between them."""
        return self.hold(_questions(genesis).blocks(limit, before))

    def proven_validators(self, genesis: Genesis) -> tuple[ProvenSeat, ...]:
        """All who vote after the newest block, with their stakes, the strongest first."""
        return self.hold(_questions(genesis).validators())

    def audit(
        self,
        directory: Path,
        genesis: Genesis,
        trust: Trust | None = None,
        progress: Progress | None = None,
    ) -> Audit:
        """Follow the whole chain from the genesis, in a copy of one's own, and hold the node's lists against it."""
        # The command line starts faster without what executes blocks.
        from node.chain_audit.audits import Audit  # noqa: PLC0415
        from node.chain_audit.copy import Opening  # noqa: PLC0415

        return Audit(self.hold, Opening(directory, genesis, trust, progress))


def _questions(genesis: Genesis) -> Questions:
    # The command line starts faster without what checks signatures.
    from gossip.identity import Ed25519Verifier  # noqa: PLC0415
    from node.proven_lists import Questions  # noqa: PLC0415

    return Questions(genesis, Ed25519Verifier())
