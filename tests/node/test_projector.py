from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from consensus.chain import first_height_write
from consensus.ledger.records import TaskState
from consensus.operations.transactions import AdmitObserver, Transfer
from consensus.operations.validators import ApproveExpulsion
from consensus.projections import accounts, tasks, transactions, validators, work
from consensus.projections.rows import RowReader
from node.chain.projector import Projector, open_projections
from node.storage.store import LevelStore
from tests.consensus.chains import StoredTown
from tests.consensus.world import HashSigner

BOB, CAROL, DAVE = HashSigner("bob"), HashSigner("carol"), HashSigner("dave")


@dataclass
class Feed:
    durable_height: int = 0
    grown: trio.Event = field(default_factory=trio.Event)

    async def until_durable(self, height: int) -> None:
        while self.durable_height < height:
            await self.grown.wait()


class Place:
    """A town whose chain lies in a LevelDB, with its read models."""

    def __init__(self, path: Path) -> None:
        self.town = StoredTown((1, 1), amount=1_000_000)
        self.chain = LevelStore(path / "chain", create=True)
        self.rows = open_projections(path / "projections")
        self.feed = Feed()
        self.projector = Projector(self.rows, self.chain, lambda: self.town.ledger, self.feed)

    def publish(self) -> None:
        """What the town has done is on disk."""
        self.chain.write(list(self.town.database.pairs.items()), sync=False)
        self.feed.durable_height = self.town.ledger.height
        self.feed.grown.set()
        self.feed.grown = trio.Event()

    def live(self) -> None:
        """Some of everything."""
        town = self.town
        town.block(town.signed(town.nodes[0], Transfer(BOB.node_id, 70)))
        town.block(town.signed(BOB, Transfer(CAROL.node_id, 30), Transfer(BOB.node_id, 1)))
        town.block(town.signed(BOB, Transfer(CAROL.node_id, 3000)))
        town.block(town.signed(town.nodes[0], AdmitObserver(CAROL.node_id, None)))
        town.block(town.signed(town.nodes[0], AdmitObserver(DAVE.node_id, None)))
        town.work()
        for node in town.nodes:
            town.block(town.signed(node, ApproveExpulsion(DAVE.node_id)))
        assert town.ledger.member(DAVE.node_id) is None
        self.publish()

    def contents(self) -> dict[str, list[tuple[bytes, bytes]]]:
        return {
            name: list(self.projector.reader(name).range(b"", b"\xff", 10**6))
            for name in self.projector.names
        }

    def reader(self, name: str) -> RowReader:
        return self.projector.reader(name)


async def until(projector: Projector, condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not condition():
            await projector.moved()


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Place]:
    place = Place(path)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place.projector.run)
            yield place
            nursery.cancel_scope.cancel()
    finally:
        place.rows.close()
        place.chain.close()


async def test_the_read_models_agree_with_the_ledger(tmp_path: Path) -> None:
    async with running(tmp_path) as place:
        place.live()
        ledger = place.town.ledger
        await until(place.projector, lambda: place.projector.height == ledger.height)
        listed, rest = accounts.richest(place.reader("accounts"), None, 100)
        assert rest is None
        assert sorted(listed) == ledger.accounts()
        assert [one.balance for _, one in listed] == sorted(
            (one.balance for _, one in ledger.accounts()), reverse=True
        )
        known = dict(ledger.tasks())
        found, _ = tasks.newest(place.reader("tasks"), tasks.subject(), None, 100)
        assert {name: row.state for name, row in found} == {
            name: task.state for name, task in known.items()
        }
        settled, _ = tasks.newest(
            place.reader("tasks"), tasks.subject(TaskState.SETTLED), None, 100
        )
        assert [row.state for _, row in settled] == [TaskState.SETTLED]
        seats, _ = validators.strongest(place.reader("validators"), None, 100)
        assert {node for node, _ in seats} == set(ledger.validators.nodes)


async def test_transactions_of_an_account_come_newest_first_and_page_by_page(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as place:
        place.live()
        await until(place.projector, lambda: place.projector.height == place.town.ledger.height)
        reader = place.reader("transactions")
        everything, _ = transactions.newest(reader, BOB.node_id, None, 100)
        assert [one.height for one in everything] == [3, 2, 1]
        assert [one.code.value for one in everything] == ["overdraft", "ok", "ok"]
        paged, after = [], None
        while True:
            rows, after = transactions.newest(reader, BOB.node_id, after, 2)
            paged += rows
            if after is None:
                break
        assert paged == everything


async def test_earnings_conduct_and_fairness(tmp_path: Path) -> None:
    async with running(tmp_path) as place:
        place.live()
        await until(place.projector, lambda: place.projector.height == place.town.ledger.height)
        executor = place.town.nodes[1].node_id
        leaders, _ = work.leaders(place.reader("leaderboard"), None, 10)
        assert leaders == [(executor, work.Earned(10, 1))]
        assert work.conduct(place.reader("reputation"), executor) == work.Conduct(1, 1)
        assert work.Conduct(1, 1).score == work.Conduct().score == 500
        # One of three members (two founders, Carol) earned everything.
        assert work.fairness(place.reader("fairness")) == work.Fairness(2 / 3, 3, 10)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [([], None), ([0, 0], None), ([5, 5, 5], 0.0), ([0, 0, 0, 4], 0.75), ([1, 3], 0.25)],
)
def test_gini(shares: list[int], expected: float | None) -> None:
    assert work.gini(shares).gini == expected


async def test_made_anew_they_hold_the_same(tmp_path: Path) -> None:
    async with running(tmp_path) as place:
        place.live()
        await until(place.projector, lambda: place.projector.height == place.town.ledger.height)
        before = place.contents()
        for name in place.projector.names:
            place.projector.rebuild(name)
        # Callers are answered meanwhile, and the chain goes on.
        assert place.contents() == before
        place.town.block(place.town.signed(place.town.nodes[0], Transfer(BOB.node_id, 7)))
        place.publish()
        await until(
            place.projector,
            lambda: (
                place.projector.height == place.town.ledger.height
                and all(one.rebuilt_to is None for one in place.projector.standing())
            ),
        )
        after = place.contents()
        known = accounts.account(place.reader("accounts"), BOB.node_id)
        assert known is not None
        assert known.balance == place.town.balance(BOB)
        assert after["tasks"] == before["tasks"]
        # The old rows are gone.
        assert len(place.rows.range(b"a", b"z", 10**6)) == sum(map(len, after.values()))


async def test_after_a_restart_only_what_is_new_is_read(tmp_path: Path) -> None:
    async with running(tmp_path) as place:
        place.live()
        await until(place.projector, lambda: place.projector.height == place.town.ledger.height)
        before, height = place.contents(), place.town.ledger.height
    rows, chain = open_projections(tmp_path / "projections"), LevelStore(tmp_path / "chain")
    again = Projector(rows, chain, lambda: place.town.ledger, Feed(height))
    assert again.height == height
    assert {
        name: list(again.reader(name).range(b"", b"\xff", 10**6)) for name in again.names
    } == before
    rows.close()
    chain.close()


async def test_a_damaged_database_is_made_anew(tmp_path: Path) -> None:
    async with running(tmp_path) as place:
        place.live()
        await until(place.projector, lambda: place.projector.height == place.town.ledger.height)
        before = place.contents()
    (tmp_path / "projections" / "CURRENT").unlink()
    async with running(tmp_path / "x") as other:
        assert other.projector.height == 0
    rows, chain = open_projections(tmp_path / "projections"), LevelStore(tmp_path / "chain")
    again = Projector(rows, chain, lambda: place.town.ledger, place.feed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(again.run)
        await until(again, lambda: again.height == place.town.ledger.height)
        nursery.cancel_scope.cancel()
    assert {
        name: list(again.reader(name).range(b"", b"\xff", 10**6)) for name in again.names
    } == before
    rows.close()
    chain.close()


async def test_listeners_hear_what_changed(tmp_path: Path) -> None:
    heard: dict[str, set[bytes]] = {}
    async with running(tmp_path) as place:
        place.projector.listen(
            lambda name, subjects: heard.setdefault(name, set()).update(subjects)
        )
        place.town.block(place.town.signed(place.town.nodes[0], Transfer(BOB.node_id, 7)))
        place.publish()
        await until(place.projector, lambda: place.projector.height == 1)
        await until(place.projector, lambda: "accounts" in heard)
    assert {b"a", b"a" + BOB.node_id, b"b"} <= heard["accounts"]
    assert b"p" + BOB.node_id in heard["transactions"]
    assert not heard["leaderboard"]


async def test_whoever_comes_to_read_waits_for_what_was_gathered_while_nobody_did(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as place:
        town = place.town
        for _ in range(3):
            town.block(town.signed(town.nodes[0], Transfer(BOB.node_id, 1)))
            place.publish()
            await until(place.projector, lambda: place.projector.height > 0)
        with trio.fail_after(20):
            await place.projector.asked()
        assert place.projector.height == town.ledger.height == 3


async def test_blocks_taken_in_together_give_the_rows_that_they_give_one_by_one(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path / "town")
    rows = open_projections(tmp_path / "one by one")
    feed = Feed()
    single = Projector(rows, place.chain, lambda: place.town.ledger, feed)
    place.live()
    for height in range(1, place.town.ledger.height + 1):
        feed.durable_height = height
        single.catch_up_now()
    place.projector.catch_up_now()
    assert place.projector.height == single.height == place.town.ledger.height
    for name, together in place.contents().items():
        assert list(single.reader(name).range(b"", b"\xff", 10**6)) == together, name
    for store in (rows, place.rows, place.chain):
        store.close()


async def test_whoever_reads_is_not_held_up_by_rows_that_do_not_come(tmp_path: Path) -> None:
    place = Place(tmp_path)  # nobody brings its rows up to the chain
    place.live()
    with trio.fail_after(20):
        await place.projector.asked()
    assert place.projector.height == 0
    place.rows.close()
    place.chain.close()


async def test_a_chain_that_began_with_a_snapshot_is_taken_from_its_state(tmp_path: Path) -> None:
    async with running(tmp_path / "whole") as whole:
        whole.live()
        await until(whole.projector, lambda: whole.projector.height == whole.town.ledger.height)
        expected = whole.contents()
    # Another node has the state after the last block, and none of the blocks.
    base = whole.town.ledger.height
    rows = open_projections(tmp_path / "projections")
    chain = LevelStore(tmp_path / "chain", create=True)
    chain.write([first_height_write(base)])
    feed = Feed(base)
    taken = Projector(rows, chain, lambda: whole.town.ledger, feed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(taken.run)
        for name in ("accounts", "leaderboard", "reputation", "fairness", "validators"):
            assert list(taken.reader(name).range(b"", b"\xff", 10**6)) == expected[name], name
        found, _ = tasks.newest(taken.reader("tasks"), tasks.subject(), None, 100)
        assert {name: row.state for name, row in found} == {
            name: task.state for name, task in whole.town.ledger.tasks()
        }
        taken.rebuild("accounts")
        await taken.moved()
        await until(taken, lambda: all(one.rebuilt_to is None for one in taken.standing()))
        assert list(taken.reader("accounts").range(b"", b"\xff", 10**6)) == expected["accounts"]
        nursery.cancel_scope.cancel()
    rows.close()
    chain.close()
