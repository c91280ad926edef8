"""Four real validators under load, killed and started again: they go on, and what was final stays final."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from node.client import Client, NotReachableError, RefusedError, StillWaitingError
from node.errors import NodeError
from node.views.records import TransactionView
from tests.node.e2e.daemons import (
    Daemon,
    Fleet,
    await_agreement,
    await_peace,
    knows,
    until,
)

pytestmark = pytest.mark.timeout(240)

ROUNDS = 5
MANY_ROUNDS = int(os.environ.get("BIZRA_KILL_ROUNDS", "50"))
PATIENCE_S = 8.0
"""A view change takes about a second on an idle machine; this is for a busy one."""


@dataclass(frozen=True, slots=True)
class Told:
    """A transaction that a node has told to be final, and where."""

    by: str
    name: str
    height: int
    block: str


class Load:
    """Threads that pay and wait, one for each node, and write down what they were told."""

    def __init__(self, members: Sequence[Daemon]) -> None:
        self.told: list[Told] = []
        self.faults: list[str] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._pay, args=(one, members[at - 1].id), name=one.name)
            for at, one in enumerate(members)
        ]

    @contextmanager
    def on(self) -> Iterator[Load]:
        """The load lasts as long as the block."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def _pay(self, payer: Daemon, to: str) -> None:
        while not self._stop.is_set():
            try:
                with Client.of_home(payer.home) as client:
                    self._pay_on(client, payer.name, to)
            except NotReachableError:
                self._stop.wait(0.05)  # it was killed; it will be back
            except NodeError as error:
                self.faults.append(f"{payer.name}: {error}")
                return

    def _pay_on(self, client: Client, name: str, to: str) -> None:
        while not self._stop.is_set():
            paid = client.transfer(to, 1)
            try:
                view = client.await_transaction(paid.tx_hash, 3.0)
            except StillWaitingError:
                continue  # the federation stands still for a moment, or lost it with its memory
            except RefusedError as error:
                if error.code != "unknown_transaction":
                    raise
                continue  # killed and back between two questions: what only waited is not kept
            if view.status == "finalized":
                assert view.height is not None
                assert view.block_hash is not None
                self.told.append(Told(name, view.tx_hash, view.height, view.block_hash))

    def grows(self, by: int = 3, timeout_s: float = 30.0) -> float:
        """Wait until more is final; the seconds that took."""
        began, before = time.monotonic(), len(self.told)
        until(
            lambda: len(self.told) >= before + by or self.faults,
            f"{by} more transfers to become final",
            timeout_s,
        )
        assert not self.faults
        return time.monotonic() - began


def assert_kept(told: Sequence[Told], members: Sequence[Daemon]) -> None:
    """All that anybody was told is on every node, in the block that was named."""
    assert told
    for one in members:
        for what in told:
            view: TransactionView = one.client.transaction(what.name)
            assert (view.status, view.height, view.block_hash) == (
                "finalized",
                what.height,
                what.block,
            ), f"{what.by} told {what}, but {one.name} shows {view}"


@pytest.fixture(scope="module")
def four(shared_fleet: Fleet) -> list[Daemon]:
    """A federation of its own: it grows to five in the end."""
    return shared_fleet.federation(4)


def test_every_node_comes_back_from_a_bare_restart(four: list[Daemon]) -> None:
    for one in four:
        before = one.status
        assert one.end() == 0
        one.start()
        after = one.status
        assert after.height >= before.height
        assert (after.role, after.epoch) == ("validator", before.epoch)
        four[0].pay(four[1])
    await_peace(four)


def test_the_primary_is_killed_and_the_others_go_on(four: list[Daemon]) -> None:
    members = {one.id: one for one in four}
    primary = members[four[0].status.primary or ""]
    living = [one for one in four if one is not primary]
    with Load(living).on() as load:
        load.grows()
        primary.kill()
        assert load.grows(by=10) < PATIENCE_S
        height = living[0].status.height
        assert primary.id not in {one.status.primary for one in living}
        primary.start()
        until(lambda: primary.status.height >= height, "the killed node to catch up")
    await_agreement(four)
    assert_kept(load.told, four)


def test_all_four_are_killed_at_once_under_load(four: list[Daemon]) -> None:
    await_peace(four)
    with Load(four).on() as load:
        load.grows(by=20)
        for one in four:
            one.process.kill()
        for one in four:
            one.kill()
        for one in four:
            one.launch()
        for one in four:
            one.started()
        load.grows()
    await_peace(four)
    assert_kept(load.told, four)


def _rounds(four: list[Daemon], count: int, seed: int) -> None:
    """Each time somebody, after some more transfers, at an instant that nobody chose."""
    chance = random.Random(seed)
    with Load(four).on() as load:
        for _ in range(count):
            victim = chance.choice(four)
            load.grows(by=chance.randint(1, 12))
            victim.kill()
            load.grows(by=chance.randint(1, 6))
            victim.start()
    await_peace(four)
    assert_kept(load.told, four)


def test_kills_at_random_moments_lose_nothing(four: list[Daemon]) -> None:
    _rounds(four, ROUNDS, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_kills_at_random_moments_lose_nothing(four: list[Daemon]) -> None:
    _rounds(four, MANY_ROUNDS, seed=2)


def test_a_node_that_was_away_through_an_epoch_change_catches_up(
    four: list[Daemon], shared_fleet: Fleet
) -> None:
    away, judges = four[3], four[:3]
    assert away.end() == 0
    fifth = shared_fleet.new("fifth").start("--bootstrap", four[0].address)
    for judge in judges:
        until(lambda judge=judge: knows(judge, fifth), f"{judge.name} to hear of it")  # type: ignore[misc]
        assert fifth.status.role != "validator"
        judge.client.admit(fifth.id, validator=True)
    until(lambda: fifth.status.role == "validator", "the newcomer to become a validator")
    four[0].pay(fifth)
    away.start()
    view = await_agreement([*four, fifth])
    assert (view.epoch, view.quorum, view.faults_tolerated) == (4, 4, 1)
    away.pay(fifth)
    await_peace([*four, fifth])
