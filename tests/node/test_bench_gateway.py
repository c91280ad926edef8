from __future__ import annotations

import os
from pathlib import Path

import pytest

from consensus.messages import Transactions
from consensus.operations.transactions import (
    Transaction,
    TransactionBody,
    Transfer,
    sign_transaction,
)
from gossip.codec import encode
from node.bench.doors import Target
from node.bench.ledger import measure_ledger
from node.bench.load import LoadError
from node.bench.socket import BinarySocket
from node.bench.stream import drive_stream, has_compiler
from tests.node.alone import serving
from tests.node.served import serving_beside


def test_what_is_measured_in_process_is_done() -> None:
    figures = measure_ledger(1)
    assert figures.transactions == 2000
    assert figures.replay_is_equal
    assert figures.projections_are_equal
    assert min(figures.admission_tx_per_s, figures.admission_with_signatures_tx_per_s) > 0
    assert figures.block_2000_ms >= figures.block_2000_execute_ms


@pytest.mark.slow
def test_a_hundred_thousand_transactions_are_replayed_and_projected_to_the_same() -> None:
    figures = measure_ledger(50)
    assert figures.transactions == 100_000
    assert figures.replay_is_equal
    assert figures.projections_are_equal


async def test_the_stream_of_submissions_answers_each_message_in_order(home_path: Path) -> None:
    async with (
        serving(home_path) as (node, url),
        BinarySocket(url, "/api/v2/transactions/stream") as socket,
    ):
        first = node.sign(Transfer(b"\x01" * 32, 1))
        await socket.send(encode(Transactions((first.raw,))))
        await socket.send(b"rubbish")
        forged = first.raw[:-1] + bytes([first.raw[-1] ^ 1])
        await socket.send(encode(Transactions((forged,))))
        assert await socket.receive() == {"taken": 1, "refused": []}
        assert (await socket.receive())["code"] == "bad_batch"
        assert (await socket.receive())["code"] == "bad_signature"
        assert node.engine.chain.place_of(first.id) is not None


@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_the_compiled_generator_has_each_message_answered_and_tells_what_is_refused(
    home_path: Path, tmp_path: Path
) -> None:
    with serving_beside(home_path) as served:
        target = Target(served.url, os.getpid(), tmp_path)
        signed: list[Transaction] = []
        own = served.node.keys.identity
        chain = served.genesis.federation_id
        for nonce in range(30):
            body = TransactionBody(chain, own.node_id, nonce, 1000, (Transfer(b"\x01" * 32, 1),))
            signed.append(sign_transaction(own, body))
        bodies = [
            encode(Transactions(tuple(one.raw for one in signed[at : at + 10])))
            for at in (0, 10, 20)
        ]
        done = drive_stream(target, bodies, per_s=100)
        assert (done.requests, done.refused) == (3, 0)
        assert 0 < done.p50_ms <= done.p99_ms
        account = served.node.engine.ledger.account(b"\x01" * 32)
        assert account is not None
        assert account.balance == 30
        with pytest.raises(LoadError, match=r"not taken whole: .*bad_nonce"):
            drive_stream(target, bodies, per_s=100)
        with pytest.raises(LoadError, match=r"not taken whole: .*bad_batch"):
            drive_stream(target, [b"rubbish"], per_s=100)
