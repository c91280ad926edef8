"""Receipts made from what a node has stored.

Everything here answers None while the quorum's certificate is not there yet: a moment after the
block, normally.
"""

from __future__ import annotations

from collections.abc import Sequence

from consensus.chain import ChainReader
from consensus.ledger.machine import Ledger
from consensus.ledger.tables import ACCOUNTS
from consensus.receipts import (
    AccountReceipt,
    BlockReceipt,
    EpochLink,
    ProvenItem,
    StateReceipt,
    StatesReceipt,
    TaskContent,
    TransactionReceipt,
)


def transaction_receipt(
    chain: ChainReader, transaction: bytes, content: TaskContent | None = None
) -> TransactionReceipt | None:
    """What became of the transaction with this id."""
    place = chain.place_of(transaction)
    if place is None:
        return None
    block, execution = chain.block(place.height), chain.execution(place.height)
    certificate = chain.state_certificate(place.height)
    if block is None or execution is None or certificate is None:
        return None
    epochs = epoch_links(chain, block.header.epoch)
    if epochs is None:
        return None
    return TransactionReceipt(
        block.raw_transactions[place.index],
        execution.results.outcomes[place.index],
        execution.results.path(place.index),
        block.header,
        certificate,
        epochs,
        content,
    )


def block_receipt(chain: ChainReader, height: int) -> BlockReceipt | None:
    """That the block at this height was committed."""
    block, certificate = chain.block(height), chain.certificate(height)
    if block is None or certificate is None:
        return None
    epochs = epoch_links(chain, block.header.epoch)
    return None if epochs is None else BlockReceipt(block.header, certificate, epochs)


def account_receipt(chain: ChainReader, ledger: Ledger, owner: bytes) -> AccountReceipt | None:
    """What an account holds after the last block, or that it does not exist."""
    certificate = chain.state_certificate(ledger.height)
    if certificate is None:
        return None
    epochs = epoch_links(chain, certificate.statement.epoch)
    if epochs is None:
        return None
    proof = ledger.prove(ACCOUNTS.key(owner))
    return AccountReceipt(owner, ledger.account(owner), proof, certificate, epochs)


def state_receipt(chain: ChainReader, ledger: Ledger, key: bytes) -> StateReceipt | None:
    """What the state holds under a key after the last block, or that it holds nothing there."""
    certificate = chain.state_certificate(ledger.height)
    if certificate is None:
        return None
    epochs = epoch_links(chain, certificate.statement.epoch)
    if epochs is None:
        return None
    return StateReceipt(key, ledger.value(key), ledger.prove(key), certificate, epochs)


def states_receipt(
    chain: ChainReader, ledger: Ledger, keys: Sequence[bytes]
) -> StatesReceipt | None:
    """The same for several keys, all after the last block."""
    certificate = chain.state_certificate(ledger.height)
    if certificate is None:
        return None
    epochs = epoch_links(chain, certificate.statement.epoch)
    if epochs is None:
        return None
    items = tuple(ProvenItem(key, ledger.value(key), ledger.prove(key)) for key in keys)
    return StatesReceipt(items, certificate, epochs)


def epoch_links(chain: ChainReader, epoch: int) -> tuple[EpochLink, ...] | None:
    """How the validators of `epoch` follow from those of the genesis."""
    links: list[EpochLink] = []
    for number in range(1, epoch + 1):
        start = chain.epoch(number)
        if start is None:
            return None
        certificate = chain.recovery(number) or chain.state_certificate(start.base_height)
        if certificate is None:
            return None
        links.append(EpochLink(certificate, start.members))
    return tuple(links)
