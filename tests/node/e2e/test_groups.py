"""The same task on several real nodes: paid where they agree, shown as one result."""

from __future__ import annotations

import json

import pytest

from consensus.genesis import Genesis
from consensus.operations.transactions import CompleteTask, decode_transaction
from consensus.receipts import TransactionReceipt, read_receipt
from consensus.verify import verify_file
from gossip.identity import Ed25519Verifier
from tests.node.e2e.daemons import Daemon, until

pytestmark = pytest.mark.timeout(180)

TEXT = b"Four validators tolerate one that lies. Seven tolerate two. Paper burns. Rain falls."


def test_three_nodes_do_the_same_and_all_are_paid(four: list[Daemon]) -> None:
    asker, workers = four[0], four[1:]
    before = [one.balance() for one in workers]
    ended = asker.command(
        *("task", "submit", "summarize", "--input", "-", "--sentences", "1"),
        *("--redundancy", "3", "--reward", "50", "--wait", "--json"),
        stdin=TEXT,
    )
    assert ended.code == 0, ended
    group = ended.json
    assert (group["verdict"], group["rule"], group["drawn"]) == ("agreed", "equal", False)
    assert [one["status"] for one in group["tasks"]] == ["settled"] * 3
    assert {one["executor"] for one in group["tasks"]} == {one.id for one in workers}
    outputs = [asker.client.task(one["task_id"]).output for one in group["tasks"]]
    assert outputs[0] is not None
    assert outputs == [outputs[0]] * 3
    assert [one.balance() - had for one, had in zip(workers, before, strict=True)] == [50] * 3
    shown = asker.command("task", "group", group["group_id"][:12])
    assert "agreed" in shown.out


def test_the_ledger_draws_among_those_who_offer_and_vectors_are_compared_by_meaning(
    four: list[Daemon],
) -> None:
    asker, first, second, _ = four
    nobody = asker.command(
        *("task", "submit", "embed", "--query", "a", "--redundancy", "2", "--draw", "--wait")
    )
    assert nobody.code == 1
    assert "refused" in nobody.out
    assert "2 different executors are needed" in nobody.out + nobody.err
    for one in (first, second):
        assert one.command("task", "offer", "embed").code == 0
    until(
        lambda: (
            asker.client.await_transaction(
                second.command("task", "offer", "embed", "--json").json["txHash"], 30
            ).status
            == "finalized"
        ),
        "the offers to be final",
    )
    ended = asker.command(
        *("task", "submit", "embed", "--query", "a", "--redundancy", "2", "--draw"),
        *("--wait", "--json"),
    )
    assert ended.code == 0, ended
    group = ended.json
    assert (group["verdict"], group["rule"], group["drawn"]) == ("agreed", "attested", True)
    assert {one["executor"] for one in group["tasks"]} == {first.id, second.id}
    tasks = {one["executor"]: one["task_id"] for one in group["tasks"]}
    assert any(_opened_by_both(worker, tasks[worker.id]) for worker in (first, second))


def _opened_by_both(executor: Daemon, task: str) -> bool:
    """Whether the transaction that opened a task's result has its asker's signature too."""
    genesis = Genesis.load(executor.home.genesis.read_bytes())
    listed = executor.command("tx", "list", "--account", executor.id, "--limit", "10", "--json")
    for one in listed.json["transactions"]:
        told = json.dumps(executor.client.receipt(one["txHash"]))
        receipt = read_receipt(told)
        assert isinstance(receipt, TransactionReceipt)
        for operation in decode_transaction(receipt.raw).body.operations:
            if isinstance(operation, CompleteTask) and operation.signed.receipt.task.hex() == task:
                return verify_file(told, genesis, Ed25519Verifier()).countersigned
    return False


def test_more_nodes_than_there_are_and_options_that_do_not_fit_are_refused(
    four: list[Daemon],
) -> None:
    asker = four[0]
    many = asker.command("task", "submit", "embed", "--query", "a", "--redundancy", "7")
    assert many.code == 1
    assert "7 different nodes" in many.err
    for wrong in (
        ("--draw",),
        ("--redundancy", "2", "--executor", four[1].id),
        ("--redundancy", "9"),
    ):
        assert asker.command("task", "submit", "embed", "--query", "a", *wrong).code == 2
    assert asker.command("task", "group", "ab" * 32).code == 1
    assert asker.command("task", "offer", "dance").code == 1
