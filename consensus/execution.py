"""Executing a decided block: the ledger's turn, and the one atomic batch that keeps all that came of it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from consensus.blocks import Block
from consensus.certificates import Certificate, StateStatement
from consensus.chain import Execution, block_writes
from consensus.event_log import block_events, event_write
from consensus.ledger import BlockResult, Ledger
from consensus.mempool import Mempool
from consensus.pool_log import PoolLog
from consensus.quorum import ValidatorSet
from gossip.effects import Effect, Notify, Persist, Store


class BlockExecuted(msgspec.Struct, frozen=True, gc=False):
    """A block is final and its changes are in the batch in front of this."""

    block: Block
    result: BlockResult


@dataclass(frozen=True, slots=True)
class Executed:
    """What came of a block: the statement to sign, who votes from now on, the batch and the news."""

    statement: StateStatement
    next_set: ValidatorSet
    effects: list[Effect]


class BlockExecution:
    """Ledger, chain store and mempool move to the next height together."""

    def __init__(self, ledger: Ledger, mempool: Mempool, pool_log: PoolLog) -> None:
        self._ledger, self._mempool, self._pool_log = ledger, mempool, pool_log

    def execute(self, block: Block, certificate: Certificate, voters: ValidatorSet) -> Executed:
        """Take the next block, decided by `voters`."""
        result = self._ledger.execute(block)
        members = result.next_set
        statement = StateStatement(
            voters.epoch,
            block.height,
            block.digest,
            result.results_root,
            result.state_root,
            members.hash,
        )
        execution = Execution(statement, result.results)
        writes = (
            *block_writes(block, certificate, execution, members),
            *result.writes,
            event_write(block_events(block, statement, result)),
        )
        out: list[Effect] = [Persist(Store.CHAIN, writes), Notify(BlockExecuted(block, result))]
        dropped = self._mempool.remove_committed(block, self._ledger)
        out += map(Notify, dropped)
        gone = (*block.transactions, *(one.transaction for one in dropped))
        out += self._pool_log.forget(one.id for one in gone)
        return Executed(statement, members, out)
