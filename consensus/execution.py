"""Executing a decided block: the ledger's turn, and the one atomic batch that keeps all that came of it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from consensus.blocks import Block
from consensus.certificates import Certificate, StateStatement
from consensus.executed import carry_out
from consensus.ledger.machine import BlockResult, Ledger
from consensus.mempool import Mempool
from consensus.pool_log import PoolLog
from consensus.quorum import ValidatorSet
from gossip.effects import Effect, Notify, Persist, Store


class BlockExecuted(msgspec.Struct, frozen=True, gc=False):
    """A block is final and its changes are in the batch in front of this."""

    block: Block
    result: BlockResult


class UnknownProtocol(msgspec.Struct, frozen=True, gc=False):
    """After this height the federation speaks a protocol that this program does not know.

    It takes no further block and votes no more: a newer program goes on from what is on disk.
    """

    version: int
    height: int


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
        carried = carry_out(self._ledger, block, voters.epoch)
        out: list[Effect] = [
            Persist(Store.CHAIN, carried.writes(certificate)),
            Notify(BlockExecuted(block, carried.result)),
        ]
        dropped = self._mempool.remove_committed(block, self._ledger)
        out += map(Notify, dropped)
        gone = (*block.transactions, *(one.transaction for one in dropped))
        out += self._pool_log.forget([one.id for one in gone])
        return Executed(carried.statement, carried.result.next_set, out)
