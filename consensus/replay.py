"""Replay: execute a stored chain from its genesis again and hold it against what was stored the first time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from consensus.blocks import Block
from consensus.certificates import StateStatement
from consensus.chain import ChainReader
from consensus.executed import carry_out
from consensus.genesis import Genesis
from consensus.ledger.event_log import EventLog, event_write
from consensus.ledger.machine import Ledger
from gossip.codec import Digest
from gossip.effects import KeyValueReader
from gossip.identity import Verifier


@dataclass(frozen=True, slots=True)
class Replayed:
    """One block, executed again. `fault` says where it came out differently from what was stored."""

    height: int
    transactions: int
    events: int
    state_root: Digest
    fault: str | None


def replay(
    genesis: Genesis, reader: KeyValueReader, verifier: Verifier, to_height: int
) -> Iterator[Replayed]:
    """Blocks 1 to `to_height`, or as many as there are. Raises `DecodeError` if the database is damaged."""
    chain, log = ChainReader(reader), EventLog(reader)
    ledger = Ledger(genesis, verifier)
    for height in range(1, min(to_height, chain.height()) + 1):
        block, execution = chain.block(height), chain.execution(height)
        if block is None or execution is None:
            first = chain.first_height()
            reason = f"this node began with a snapshot of height {first}; the block is not here"
            yield Replayed(
                height,
                0,
                0,
                ledger.state_root,
                reason if height < first else "the block is missing",
            )
            return
        if ledger.is_outdated:
            spoken = f"protocol {ledger.protocol_version}, which this program does not know"
            reason = f"from here on the blocks are executed by {spoken}: install a newer version"
            yield Replayed(height, 0, 0, ledger.state_root, reason)
            return
        yield _replayed(ledger, block, execution.statement, log)
        following = chain.epoch(ledger.validators.epoch + 1)
        if following is not None and following.base_height == height:
            survivors = set(following.members.nodes)
            ledger.recover(set(ledger.validators.nodes) - survivors)


def _replayed(ledger: Ledger, block: Block, stored: StateStatement, log: EventLog) -> Replayed:
    carried = carry_out(ledger, block, stored.epoch)
    result, batch = carried.result, carried.events
    fault = None
    if carried.statement != stored:
        fault = (
            f"the state root is {result.state_root.hex()}, stored was {stored.state_root.hex()}"
            if result.state_root != stored.state_root
            else "the outcomes, the next validators or the block differ from what was stored"
        )
    elif log.raw(block.height) not in (None, event_write(batch)[1]):
        fault = "the events differ from those in the log"
    return Replayed(
        block.height, len(block.transactions), len(batch.records), result.state_root, fault
    )
