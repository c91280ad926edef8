from __future__ import annotations

from pathlib import Path

import pytest

from consensus.messages import Transactions
from consensus.transactions import Transfer
from gossip.codec import encode
from node.bench.ledger import measure_ledger
from node.bench.socket import BinarySocket
from tests.node.alone import serving


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
