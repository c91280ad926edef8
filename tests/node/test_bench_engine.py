from __future__ import annotations

from node.bench.engine import EngineWork, measure_engine


def test_four_engines_decide_all_that_is_handed_in_and_every_part_is_timed() -> None:
    figures = measure_engine(EngineWork(clients=12, blocks=3))
    assert figures.transactions == 36
    assert figures.blocks == 3
    assert {"signatures", "executing", "PREPARE", "COMMIT", "Proposal", "Transactions"} <= set(
        figures.us_per_transaction
    )
    assert figures.us_each.keys() == figures.us_per_transaction.keys()
    assert figures.us_per_transaction_in_all >= max(figures.us_per_transaction.values())
