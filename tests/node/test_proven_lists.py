"""Conversations about lists, held with a node that lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from consensus.ledger.records import TaskState
from consensus.ledger.tables import LISTED
from consensus.operations.transactions import SubmitTask, Transfer, content_hash
from gossip.identity import Ed25519Signer, Ed25519Verifier
from node.client.conversations import Ask, Conversation, Reply
from node.client.proven import NotProvenError
from node.client.proven_lists import Questions
from node.views.lists import AccountRowView, AccountsView, TaskRowsView, TransactionsView
from node.views.records import BlocksView, JsonObject, TaskView
from tests.node.alone import Alone

_T = TypeVar("_T")
BOB = Ed25519Signer(b"b" * 32)


@pytest.fixture
def node(home_path: Path) -> Alone:
    made = Alone(home_path)
    made.execute(Transfer(BOB.node_id, 5))
    made.execute(Transfer(BOB.node_id, 6))
    return made


def questions(node: Alone) -> Questions:
    return Questions(node.genesis, Ed25519Verifier())


def held(talk: Conversation[_T], tell: Callable[[Ask], bytes]) -> _T:
    try:
        asked = next(talk)
        while True:
            asked = talk.send(Reply(tell(asked)))
    except StopIteration as end:
        result: _T = end.value
        return result


def proof(node: Alone, asked: Ask) -> JsonObject:
    """What an honest node answers to the question of several records."""
    assert asked.content is not None
    names = json.loads(asked.content)["records"]
    keys = [LISTED[one["record"]].key(bytes.fromhex(one["id"])) for one in names]
    found = node.queries.states_proof(keys)
    assert found is not None
    return found


def listing(*names: bytes, balance: str = "1") -> bytes:
    rows = tuple(AccountRowView(id=one.hex(), balance=balance, nonce=0) for one in names)
    return msgspec.json.encode(AccountsView(accounts=rows, next=None))


def test_what_the_ledger_says_counts_and_not_the_list(node: Alone) -> None:
    def tell(asked: Ask) -> bytes:
        if asked.content is None:
            return listing(BOB.node_id, balance="999")
        return msgspec.json.encode(proof(node, asked))

    page = held(questions(node).accounts(20, None), tell)
    assert [(name, one.balance) for name, one in page.items] == [(BOB.node_id, 11)]


def test_a_made_up_item_is_found_out(node: Alone) -> None:
    def tell(asked: Ask) -> bytes:
        if asked.content is None:
            return listing(BOB.node_id, b"\x07" * 32)
        return msgspec.json.encode(proof(node, asked))

    with pytest.raises(NotProvenError, match="the ledger has no such record"):
        held(questions(node).accounts(20, None), tell)


def test_a_proof_of_other_records_is_none_of_these(node: Alone) -> None:
    other = {"records": [{"record": "account", "id": node.keys.identity.node_id.hex()}]}

    def tell(asked: Ask) -> bytes:
        if asked.content is None:
            return listing(BOB.node_id)
        return msgspec.json.encode(proof(node, Ask("", json.dumps(other).encode())))

    with pytest.raises(NotProvenError, match="other records"):
        held(questions(node).accounts(20, None), tell)


def test_what_is_no_list_is_told(node: Alone) -> None:
    def told(text: bytes) -> Callable[[Ask], bytes]:
        return lambda _: text

    for text in (b"no JSON", b'{"accounts": 5}', listing(b"").replace(b'""', b'"not hex"')):
        with pytest.raises(NotProvenError):
            held(questions(node).accounts(20, None), told(text))


def test_a_task_of_somebody_else_is_not_the_owners(node: Alone) -> None:
    asked = node.execute(SubmitTask("embed", content_hash(b"in"), 1, None, node.now_ms + 3_600_000))
    ((name, task),) = node.engine.ledger.tasks()
    assert task.state is TaskState.QUEUED
    row = TaskView(task_id=name.hex(), kind="embed", status="queued", tx_hash=asked.id.hex())

    def tell(asked: Ask) -> bytes:
        if asked.content is None:
            return msgspec.json.encode(TaskRowsView(tasks=(row,), next=None))
        return msgspec.json.encode(proof(node, asked))

    own = node.keys.identity.node_id
    page = held(questions(node).tasks(20, None, owner=own), tell)
    assert [(found, one.submitter) for found, one in page.items] == [(name, own)]
    with pytest.raises(NotProvenError, match="is not one of"):
        held(questions(node).tasks(20, None, owner=BOB.node_id), tell)


def test_a_node_without_a_record_stands_where_all_begin(node: Alone) -> None:
    row = {"id": BOB.node_id.hex(), "name": "", "score": 900, "settled": 9, "failed": 0}

    def tell(asked: Ask) -> bytes:
        if asked.content is None:
            return msgspec.json.encode({"nodes": [row], "next": None})
        return msgspec.json.encode(proof(node, asked))

    page = held(questions(node).reputations(20, None), tell)
    assert [(name, one.score) for name, one in page.items] == [(BOB.node_id, 500)]


def test_a_transaction_that_does_not_name_the_account_is_told(node: Alone) -> None:
    paid = node.execute(Transfer(BOB.node_id, 7))

    def tell(asked: Ask) -> bytes:
        if asked.path.endswith("/receipt"):
            return msgspec.json.encode(node.queries.receipt(paid.id))
        row = {
            "txHash": paid.id.hex(),
            "status": "finalized",
            "sender": "",
            "height": 1,
            "timestamp_ms": 0,
            "code": "ok",
        }
        view = msgspec.convert({"transactions": [row], "next": None}, TransactionsView)
        return msgspec.json.encode(view)

    asked = questions(node)
    assert len(held(asked.transactions(BOB.node_id, 20, None), tell).items) == 1
    with pytest.raises(NotProvenError, match="does not name the account"):
        held(asked.transactions(b"\x07" * 32, 20, None), tell)


def test_a_block_left_out_is_missed(node: Alone) -> None:
    node.execute(Transfer(BOB.node_id, 7))
    whole = node.queries.blocks(None, 20)
    assert [one.height for one in whole.blocks] == [3, 2, 1]

    def tell(blocks: BlocksView) -> Callable[[Ask], bytes]:
        def answer(asked: Ask) -> bytes:
            if not asked.path.endswith("/proof"):
                return msgspec.json.encode(blocks)
            return msgspec.json.encode(node.queries.block_proof(int(asked.path.split("/")[-2])))

        return answer

    found = held(questions(node).blocks(20, None), tell(whole))
    assert [one.height for one in found] == [3, 2, 1]
    gap = msgspec.structs.replace(whole, blocks=(whole.blocks[0], whole.blocks[2]))
    with pytest.raises(NotProvenError, match="not the one before"):
        held(questions(node).blocks(20, None), tell(gap))
