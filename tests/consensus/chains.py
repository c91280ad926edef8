"""A stored chain without its votes: blocks executed and written as an engine writes them."""

from __future__ import annotations

from consensus.certificates import Ballot, Certificate, Phase, StateStatement
from consensus.chain import Execution, block_writes
from consensus.ledger.event_log import block_events, event_write
from consensus.ledger.machine import BlockResult
from consensus.operations.transactions import FailTask, Transaction, Transfer
from tests.consensus.world import HashSigner, Town


class StoredTown(Town):
    """A town whose database holds the whole chain."""

    def block(self, *transactions: Transaction) -> BlockResult:
        voters = self.ledger.validators
        result = super().block(*transactions)
        block = self.executed[-1]
        statement = StateStatement(
            voters.epoch,
            block.height,
            block.digest,
            result.results_root,
            result.state_root,
            result.next_set.hash,
        )
        ballot = Ballot(Phase.COMMIT, voters.epoch, 0, block.height, block.digest)
        execution = Execution(statement, result.results)
        self.database.write(
            block_writes(block, Certificate(ballot, ()), execution, result.next_set)
        )
        self.database.write((event_write(block_events(block, statement, result)),))
        return result

    def pay_many(self, blocks: int, each: int, payees: int = 1000) -> None:
        """Blocks of transfers by the founder, of one unit to one of many accounts."""
        founder = self.nodes[0]
        to = [HashSigner(f"payee {index}").node_id for index in range(payees)]
        for _ in range(blocks):
            nonce = self.nonce(founder)
            self.block(
                *(
                    self.signed(founder, Transfer(to[(nonce + at) % payees], 1), nonce=nonce + at)
                    for at in range(each)
                )
            )

    def work(self) -> None:
        """Tasks of every fate: one settled, one given up, one left waiting."""
        asker, executor = self.nodes[0], self.nodes[-1]
        assert self.code(executor, self.completion(self.claimed(asker, executor), executor)) == "ok"
        assert self.code(executor, FailTask(self.claimed(asker, executor), "too hard")) == "ok"
        self.submitted(asker)
