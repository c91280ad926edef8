"""Following a federation's chain from its genesis, believing whoever hands out the blocks nothing.

Each block must be the one that the validators committed, by their certificate; it must keep the rules that every voter
holds it to, the signatures of its transactions among them; and what it comes to, executed here, must be what the
validators have certified: outcomes, state and who votes next. So a quorum of liars could withhold a block from an
auditor, but neither sign for somebody else nor make money. What is kept is a chain database like a node's own.

Where survivors of a lost quorum went on, their word alone leads there; `trust` must name that epoch's set of
validators, or a later one (`verify.py`).
"""

from __future__ import annotations

from consensus.block_rules import BlockRules
from consensus.certificates import StateStatement, certificate_fault
from consensus.chain import (
    ChainReader,
    certified_height_write,
    epoch_write,
    recovery_write,
    state_certificate_write,
)
from consensus.executed import carry_out
from consensus.genesis import Genesis
from consensus.ledger.machine import Ledger
from consensus.messages import CertifiedBlock
from consensus.quorum import ValidatorSet
from consensus.receipts import EpochLink
from consensus.sync import certified_block_fault, stored_tip, tip_of
from consensus.verify import Trust, recovery_fault, unpinned_fault
from gossip.codec import Digest
from gossip.effects import KeyValueReader, Write
from gossip.identity import Verifier


class NotTheChainError(Exception):
    """What was handed out is not the federation's chain; the text names the height and what doesn't hold."""


class NewerProtocolError(Exception):
    """The chain goes on by rules that this program does not know; the text names the height and the protocol."""


class _NothingChecked:
    def contains(self, transaction_id: bytes) -> bool:
        """No signature has been checked before."""
        del transaction_id
        return False


class Follower:
    """Where an audit stands. After an `NotTheChainError` it is of no use: make another one of what was written.

    `reader` is a chain database that begins with `engine.initial_writes`. Raises `LedgerError` if it is damaged.
    """

    def __init__(
        self,
        genesis: Genesis,
        reader: KeyValueReader,
        verifier: Verifier,
        trust: Trust | None = None,
    ) -> None:
        self._chain = genesis.federation_id
        self._verifier, self._trust = verifier, trust
        self._stored = ChainReader(reader)
        self.ledger = Ledger.load(genesis, reader, verifier)
        self._tip = stored_tip(self._stored, genesis)
        self._rules = BlockRules(self._chain, self.ledger, _NothingChecked(), verifier)

    @property
    def height(self) -> int:
        """All blocks up to this one hold."""
        return self._tip.height

    @property
    def validators(self) -> ValidatorSet:
        """Who must have committed the next block."""
        return self.ledger.validators

    def stored_root(self) -> Digest | None:
        """The certified root that the stored state must have; None before the first block."""
        begun = self._stored.epoch(self.validators.epoch)
        recovered = self._stored.recovery(self.validators.epoch)
        if recovered is not None and begun is not None and begun.base_height == self.height:
            return Digest(recovered.statement.state_root)
        execution = self._stored.execution(self.height)
        return None if execution is None else Digest(execution.statement.state_root)

    def take(self, item: CertifiedBlock, *, handed_over: bool = False) -> tuple[Write, ...]:
        """The next block: what is to be written of it, in one batch. Raises `NotTheChainError`, `NewerProtocolError`.

        The last one before a quorum was lost may have no certificate of its state: `handed_over` says that what the
        survivors signed is looked at next, and stands in the same batch.
        """
        block, voters, height = item.block, self.validators, self.height + 1
        if self.ledger.is_outdated:
            raise NewerProtocolError(
                f"from height {height} on the federation speaks protocol {self.ledger.protocol_version}, "
                f"this program {self.ledger.speaks}: install a newer version"
            )
        fault = certified_block_fault(item, self._tip, voters, self._chain, self._verifier)
        if fault is not None:
            raise NotTheChainError(f"block {height}: {fault}")
        fault = self._rules.fault(block)
        if fault is not None:
            raise NotTheChainError(f"block {height} is certified and breaks the rules: {fault}")
        certificate = item.state
        if certificate is None and not handed_over:
            raise NotTheChainError(f"block {height} comes without the certificate of its state")
        if certificate is not None:
            fault = certificate_fault(certificate, voters, self._chain, self._verifier)
            if fault is not None:
                raise NotTheChainError(
                    f"the certificate of the state after block {height}: {fault}"
                )
        carried = carry_out(self.ledger, block, voters.epoch)
        self._tip = tip_of(block, item.certificate)
        writes = (*carried.writes(item.certificate), certified_height_write(height))
        if certificate is None:
            return writes
        fault = _other(carried.statement, certificate.statement)
        if fault is not None:
            raise NotTheChainError(f"block {height}, executed here, does not come to {fault}")
        return (*writes, state_certificate_write(certificate))

    def hand_over(self, link: EpochLink) -> tuple[Write, ...]:
        """Go on with the survivors of a lost quorum. Raises `NotTheChainError`."""
        voters, statement = self.validators, link.certificate.statement
        fault = recovery_fault(link, voters, self._chain, self._verifier)
        fault = fault or unpinned_fault(link, voters, self._trust)
        if fault is not None:
            raise NotTheChainError(f"epoch {voters.epoch} ends after block {self.height}: {fault}")
        if (statement.height, statement.block_hash) != (self.height, self._tip.digest):
            raise NotTheChainError(
                f"the survivors of epoch {voters.epoch} go on after block {statement.height}, "
                f"not after {self.height}"
            )
        recovered = self.ledger.recover(set(voters.nodes) - set(link.members.nodes))
        if (recovered.members, recovered.state_root) != (link.members, statement.state_root):
            raise NotTheChainError(
                f"giving up the lost seats after block {self.height} does not come to what the survivors signed"
            )
        return (
            *recovered.writes,
            epoch_write(self.height, link.members),
            recovery_write(link.members.epoch, link.certificate),
        )

    def untrusted(self) -> str | None:
        """Why the chain so far does not go through the set of validators that the reader trusts, or None."""
        trust = self._trust
        if trust is None:
            return None
        begun = self._stored.epoch(trust.epoch)
        if begun is None:
            return f"the chain ends in epoch {self.validators.epoch}, before the trusted epoch {trust.epoch}"
        if begun.members.hash != trust.hash:
            return f"the validators of epoch {trust.epoch} are not those that you trust"
        return None


def _other(own: StateStatement, certified: StateStatement) -> str | None:
    """In what two statements differ."""
    if own.state_root != certified.state_root:
        return f"the certified state {certified.state_root.hex()}, but to {own.state_root.hex()}"
    if own.results_root != certified.results_root:
        return "the certified outcomes"
    if own.next_set_hash != certified.next_set_hash:
        return "the certified validators of the next epoch"
    return None if own == certified else "what was certified, which is about another block"
