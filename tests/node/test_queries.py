from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.engine import Submit
from consensus.mempool import Dropped, RefusalCode
from consensus.operations.transactions import (
    Transaction,
    TransactionBody,
    Transfer,
    sign_transaction,
)
from consensus.verify import verify_file
from gossip.codec import Digest
from gossip.identity import Ed25519Signer, Ed25519Verifier
from node.chain.queries import ChainQueries
from node.views.facade import Named
from tests.node.alone import Alone, Fates

BOB = Ed25519Signer(b"b" * 32)


@pytest.fixture
def node(home_path: Path) -> Iterator[Alone]:
    node = Alone(home_path)
    yield node
    node.close()


def hand_in(node: Alone, nonce: int, *, expiry: int = 1000, amount: int = 5) -> Transaction:
    """A payment to Bob with a nonce of the test's choice."""
    body = TransactionBody(
        node.genesis.federation_id,
        node.keys.identity.node_id,
        nonce,
        expiry,
        (Transfer(BOB.node_id, amount),),
    )
    transaction = sign_transaction(node.keys.identity, body)
    node.handle(Submit((transaction,)))
    return transaction


def test_a_transaction_is_final_with_its_block(node: Alone) -> None:
    transaction = node.execute(Transfer(BOB.node_id, 5))
    view = node.queries.transaction(transaction.id)
    block = node.queries.block(1)
    assert view is not None
    assert block is not None
    assert (view.status, view.height, view.block_hash) == ("finalized", 1, block.hash)
    assert view.reason is None
    assert block.transactions == (transaction.id.hex(),)


def test_a_refused_execution_is_final_and_says_why(node: Alone) -> None:
    node.execute(Transfer(BOB.node_id, 5))
    body = TransactionBody(
        node.genesis.federation_id,
        BOB.node_id,
        0,
        1000,
        (Transfer(node.keys.identity.node_id, 3), Transfer(node.keys.identity.node_id, 2)),
    )
    node.handle(Submit((sign_transaction(BOB, body),)))
    claim = node.sign(Transfer(BOB.node_id, 1))
    account = node.queries.account(BOB.node_id)
    assert account is not None
    assert (account.balance, account.nonce) == ("0", 1)
    assert node.queries.transaction(claim.id) is None


def test_a_transaction_that_waits_for_its_predecessor_is_pending(node: Alone) -> None:
    waiting = hand_in(node, 1)
    view = node.queries.transaction(waiting.id)
    assert view is not None
    assert (view.status, view.height) == ("pending", None)
    first = hand_in(node, 0)
    for transaction in (first, waiting):
        view = node.queries.transaction(transaction.id)
        assert view is not None
        assert view.status == "finalized"


def test_a_transaction_in_a_prepared_block_is_included(node: Alone) -> None:
    waiting = hand_in(node, 1)
    node.fates.prepared = frozenset({waiting.id})
    view = node.queries.transaction(waiting.id)
    assert view is not None
    assert view.status == "included"


def test_a_transaction_that_became_too_old_is_expired(node: Alone) -> None:
    late = hand_in(node, 2, expiry=1)
    node.execute(Transfer(BOB.node_id, 5))
    view = node.queries.transaction(late.id)
    assert view is not None
    assert view.status == "expired"
    assert view.reason == "valid up to height 1"


def test_a_transaction_whose_nonce_another_used_is_rejected(node: Alone) -> None:
    lost = node.sign(Transfer(BOB.node_id, 7))
    node.fates.dropped[lost.id] = Dropped(lost, RefusalCode.BAD_NONCE, "used")
    view = node.queries.transaction(lost.id)
    assert view is not None
    assert (view.status, view.reason) == ("rejected", "used")


def test_nothing_is_told_to_be_final_before_it_is_on_disk(node: Alone) -> None:
    transaction = node.execute(Transfer(BOB.node_id, 5))
    behind = ChainQueries(node.engine, Fates(0, frozenset(), {}))
    view = behind.transaction(transaction.id)
    assert view is not None
    assert (view.status, view.height) == ("included", None)
    assert behind.block(1) is None
    assert behind.blocks(None, 10).blocks == ()
    assert behind.receipt(transaction.id) is None


def test_a_receipt_convinces_somebody_who_has_only_the_genesis(node: Alone) -> None:
    transaction = node.execute(Transfer(BOB.node_id, 5))
    receipt = node.queries.receipt(transaction.id)
    verdict = verify_file(json.dumps(receipt), node.genesis, Ed25519Verifier())
    assert verdict.valid, verdict.reason
    assert verdict.signers == (node.keys.identity.node_id,)


def test_a_block_is_found_by_height_and_by_hash(node: Alone) -> None:
    node.execute(Transfer(BOB.node_id, 5))
    by_height = node.queries.block(1)
    assert by_height is not None
    assert node.queries.block(Digest(bytes.fromhex(by_height.hash))) == by_height
    assert by_height.prev_hash == node.genesis.federation_id.hex()
    assert len(by_height.certificate["endorsements"]) == 1


@pytest.mark.parametrize("which", [0, 2, 2**63, Digest(bytes(32))])
def test_a_block_that_is_not_there_is_none(node: Alone, which: int | Digest) -> None:
    node.execute(Transfer(BOB.node_id, 5))
    assert node.queries.block(which) is None


def test_blocks_come_newest_first_page_by_page(node: Alone) -> None:
    for _ in range(5):
        node.execute(Transfer(BOB.node_id, 1))
    first = node.queries.blocks(None, 3)
    assert [block.height for block in first.blocks] == [5, 4, 3]
    second = node.queries.blocks(first.next_before, 3)
    assert [block.height for block in second.blocks] == [2, 1]
    assert second.next_before is None


def test_an_account_begins_by_receiving_and_counts_what_waits(node: Alone) -> None:
    assert node.queries.account(BOB.node_id) is None
    node.execute(Transfer(BOB.node_id, 5))
    bob = node.queries.account(BOB.node_id)
    assert bob is not None
    assert (bob.balance, bob.nonce) == ("5", 0)
    hand_in(node, 2)
    own = node.queries.account(node.keys.identity.node_id)
    assert own is not None
    assert own.nonce == 1


def test_ids_are_found_by_their_first_digits(node: Alone) -> None:
    transaction = node.execute(Transfer(BOB.node_id, 5))
    waiting = hand_in(node, 3)
    block = node.queries.block(1)
    assert block is not None
    own = node.keys.identity.node_id.hex()
    for what, name in [
        (Named.TRANSACTION, transaction.id.hex()),
        (Named.TRANSACTION, waiting.id.hex()),
        (Named.BLOCK, block.hash),
        (Named.ACCOUNT, BOB.node_id.hex()),
        (Named.NODE, own),
    ]:
        for digits in (7, 8, 64):
            assert node.queries.find(what, name[:digits]) == [name]
    assert node.queries.find(Named.TASK, own[:8]) == []


def test_the_validators_are_those_of_the_next_block(node: Alone) -> None:
    view = node.queries.validators()
    assert (view.epoch, view.quorum, view.total_power, view.faults_tolerated) == (0, 1, 1, 0)
    assert [seat.node_id for seat in view.validators] == [node.keys.identity.node_id.hex()]
