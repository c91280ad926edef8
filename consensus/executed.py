"""A committed block carried out on the ledger: what validators state about it, its events, and what is kept of it.

The engine, a replay and an audit all carry blocks out here, so none of them can come to something of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.blocks import Block
from consensus.certificates import Certificate, StateStatement
from consensus.chain import Execution, block_writes
from consensus.ledger.event_log import Batch, block_events, event_write
from consensus.ledger.machine import BlockResult, Ledger
from gossip.effects import Write


@dataclass(frozen=True, slots=True)
class Carried:
    """What came of a block."""

    block: Block
    result: BlockResult
    statement: StateStatement
    events: Batch

    def writes(self, certificate: Certificate) -> tuple[Write, ...]:
        """The one batch of the chain database that keeps all of it."""
        execution = Execution(self.statement, self.result.results)
        return (
            *block_writes(self.block, certificate, execution, self.result.next_set),
            *self.result.writes,
            event_write(self.events),
        )


def carry_out(ledger: Ledger, block: Block, epoch: int) -> Carried:
    """Execute the next block, which the validators of this epoch have committed."""
    result = ledger.execute(block)
    statement = StateStatement(
        epoch,
        block.height,
        block.digest,
        result.results_root,
        result.state_root,
        result.next_set.hash,
    )
    return Carried(block, result, statement, block_events(block, statement, result))
