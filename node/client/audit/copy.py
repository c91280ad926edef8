"""An auditor's own copy of a chain, in a directory of its own: blocks, ledger and read models as a node keeps them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from consensus.auditing import Follower, NewerProtocolError, NotTheChainError
from consensus.chain import ChainReader
from consensus.engine import initial_writes
from consensus.genesis import Genesis
from consensus.ledger.machine import Ledger, LedgerError
from consensus.messages import CertifiedBlock
from consensus.receipts import EpochLink
from consensus.verify import Trust
from gossip.codec import DecodeError, Digest, encode
from gossip.effects import Write
from gossip.identity import Ed25519Verifier
from node.chain.projector import Projector, open_projections
from node.chain.read_models import ReadModels
from node.client.proven import NotProvenError
from node.storage.store import LevelStore

Progress = Callable[[int, int], None]
"""Hears after each block how far the audit is, and how far the node's certified chain goes."""


class AuditError(NotProvenError):
    """What the node hands out or says is not what its chain comes to; the text names the first fault."""

    code = "audit_failed"


@dataclass(frozen=True, slots=True)
class Opening:
    """What an audit begins with. `trust` is needed where survivors of a lost quorum went on."""

    directory: Path
    genesis: Genesis
    trust: Trust | None = None
    progress: Progress | None = None


class Copy:
    """See the module; one opener at a time. Raises `StoreError`, and `AuditError` if the directory is of no use."""

    def __init__(self, opening: Opening) -> None:
        self._opening, self._verifier = opening, Ed25519Verifier()
        self._chain = LevelStore(opening.directory / "chain", create=True)
        try:
            self._rows = open_projections(opening.directory / "projections")
        except BaseException:
            self._chain.close()
            raise
        try:
            self._begin()
            self._follower = self._followed()
            self._projector = Projector(
                self._rows, self._chain, lambda: self._follower.ledger, self
            )
        except BaseException:
            self.close()
            raise
        self.models = ReadModels(self._projector, self._chain, lambda _: None)
        """What answers questions, once `project` was called."""

    def _begin(self) -> None:
        stored = ChainReader(self._chain).genesis()
        if stored is None:
            self._chain.write(initial_writes(self._opening.genesis, self._verifier))
        elif stored != encode(self._opening.genesis):
            raise AuditError(
                f"{self._opening.directory} holds the audit of another federation; name another directory"
            )

    def _followed(self) -> Follower:
        opening = self._opening
        try:
            follower = Follower(opening.genesis, self._chain, self._verifier, opening.trust)
            root = follower.stored_root()
        except (LedgerError, DecodeError, AssertionError) as error:
            raise self._damaged(str(error) or "a block is missing") from None
        if root not in (None, follower.ledger.state_root):
            raise self._damaged(f"the state after block {follower.height} has another root")
        return follower

    def _damaged(self, why: str) -> AuditError:
        where = self._opening.directory
        return AuditError(
            f"the copy in {where} is damaged ({why}); delete it, and the audit begins anew"
        )

    def close(self) -> None:
        """Give the databases free."""
        self._rows.close()
        self._chain.close()

    @property
    def height(self) -> int:
        """All blocks up to this one have been checked and executed."""
        return self._follower.height

    @property
    def epoch(self) -> int:
        """Whose validators must have committed the next block."""
        return self._follower.validators.epoch

    @property
    def ledger(self) -> Ledger:
        """The state after that block."""
        return self._follower.ledger

    @property
    def state_root(self) -> Digest:
        """The root of the ledger's state after that block."""
        return self._follower.ledger.state_root

    @property
    def durable_height(self) -> int:
        """What the projector may read."""
        return self._follower.height

    async def until_durable(self, height: int) -> None:
        """Never: a copy grows between questions, and `project` follows."""
        del height
        await trio.sleep_forever()

    def take(self, item: CertifiedBlock, link: EpochLink | None, known_height: int) -> None:
        """The next block; `link` leads to survivors who went on behind it. Raises `AuditError`."""
        try:
            writes = self._follower.take(item, handed_over=link is not None)
            if link is not None:
                writes += self._follower.hand_over(link)
        except NotTheChainError as fault:
            raise self._failed(fault) from None
        except NewerProtocolError as fault:
            raise AuditError(str(fault)) from None
        self._keep(writes)
        if self._opening.progress is not None:
            self._opening.progress(self.height, known_height)

    def hand_over(self, link: EpochLink) -> None:
        """Go on with survivors. Raises `AuditError`."""
        try:
            writes = self._follower.hand_over(link)
        except NotTheChainError as fault:
            raise self._failed(fault) from None
        self._keep(writes)

    def _keep(self, writes: tuple[Write, ...]) -> None:
        # After a loss of power the copy ends earlier, and the read models beyond it are made anew.
        self._chain.write(writes, sync=False)

    def _failed(self, fault: NotTheChainError) -> AuditError:
        """Back to what is written: the ledger in memory may have gone on."""
        self._follower = self._followed()
        return AuditError(f"this is not the chain of the federation: {fault}")

    def project(self) -> None:
        """Bring the read models up to the last block. Raises `AuditError` if the trusted validators are not met."""
        fault = self._follower.untrusted()
        if fault is not None:
            raise AuditError(fault)
        self._projector.catch_up_now()
