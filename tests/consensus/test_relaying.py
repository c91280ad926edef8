"""Where not everybody is connected with a validator, blocks and transactions go over several hops."""

from __future__ import annotations

from collections import deque
from typing import Any, cast

import pytest

from consensus.engine import (
    BEAT_TIMER,
    Engine,
    PeerConnected,
    Received,
    Relaying,
    Started,
    Submit,
    TimerFired,
    initial_writes,
)
from consensus.genesis import Founder, found
from consensus.messages import ConsensusMessage, Status
from consensus.operations.transactions import TransactionBody, Transfer, sign_transaction
from consensus.relaying import RELAY_TIMER, Relay
from gossip.codec import Digest, Wire, decode, encode
from gossip.effects import Broadcast, Effect, Persist, Send, SetTimer
from gossip.identity import NodeId
from simulations.worlds.disk import MemoryStore
from simulations.worlds.draws import Draws
from simulations.worlds.signatures import Keyring

LINE = 5
"""A validator, and observers of whom each is connected with the one before and the one after."""


class Line:
    """Engines in a row; timers fire when a test says so."""

    def __init__(self, *, relaying: bool) -> None:
        keys = Keyring(Draws(0), real=False)
        self.users = [keys.signer(b"identity", number) for number in range(LINE)]
        voter = keys.signer(b"voting", 0)
        self.genesis = found("line", 1, (Founder(self.users[0].public, voter.public, 1, 1000),))
        self.ids = [NodeId(user.public) for user in self.users]
        self.engines: list[Engine] = []
        self.disks: list[dict[str, MemoryStore]] = []
        self.timers: list[set[str]] = [set() for _ in self.users]
        self.statuses = 0
        self._under_way: deque[tuple[int, int, bytes]] = deque()
        for number in range(LINE):
            disks = {name: MemoryStore() for name in ("chain", "votes", "pool")}
            disks["chain"].write(initial_writes(self.genesis, keys.verifier))
            key = voter if number == 0 else keys.signer(b"voting", number)
            engine = Engine(
                genesis=self.genesis,
                voting_key=key,
                verifier=keys.verifier,
                chain=disks["chain"],
                votes=disks["votes"],
                pool=disks["pool"],
            )
            self.engines.append(engine)
            self.disks.append(disks)
        for number in range(LINE):
            self.turn(number, Started())
            self.turn(number, Relaying(is_on=relaying))
            for other in (number - 1, number + 1):
                if 0 <= other < LINE:
                    self.turn(number, PeerConnected(self.ids[other]))
        self.settle()

    def turn(self, number: int, event: object) -> None:
        for effect in self.engines[number].handle(1, event):  # type: ignore[arg-type]
            self._carry_out(number, effect)
        self.engines[number].check_invariants()

    def _carry_out(self, number: int, effect: Effect) -> None:
        match effect:
            case Persist():
                self.disks[number][effect.store.value].write(effect.writes)
            case SetTimer():
                self.timers[number].add(effect.name)
            case Send():
                self._send(number, (effect.to,), effect.message)
            case Broadcast():
                self._send(number, effect.to, effect.message)
            case _:
                pass

    def _send(self, number: int, to: tuple[NodeId, ...], message: Wire) -> None:
        self.statuses += len(to) * isinstance(message, Status)
        for peer in to:
            other = self.ids.index(peer)
            assert abs(other - number) == 1, "it sends to whom it is not connected with"
            self._under_way.append((number, other, encode(message)))

    def settle(self) -> None:
        """All that is under way arrives; no timer fires."""
        while self._under_way:
            number, other, frame = self._under_way.popleft()
            message = decode(frame, cast("type[Any]", ConsensusMessage))
            self.turn(other, Received(self.ids[number], message))

    def pay(self, number: int, nonce: int = 0) -> None:
        chain = Digest(self.genesis.federation_id)
        body = TransactionBody(
            chain, self.users[0].public, nonce, 100, (Transfer(self.users[1].public, 1),)
        )
        self.turn(number, Submit((sign_transaction(self.users[0], body),)))
        self.settle()

    @property
    def heights(self) -> list[int]:
        return [engine.height for engine in self.engines]


def test_a_block_reaches_who_is_four_hops_away_and_without_a_timer() -> None:
    line = Line(relaying=True)
    line.pay(0)
    assert line.heights == [1] * LINE


def test_a_transaction_finds_its_way_to_a_validator() -> None:
    line = Line(relaying=True)
    line.pay(LINE - 1)
    assert line.heights == [1] * LINE


def test_without_relaying_those_that_are_far_wait_for_the_next_beat() -> None:
    line = Line(relaying=False)
    line.pay(0)
    assert line.heights == [1, 1, 0, 0, 0]


def test_many_blocks_are_told_together_and_the_last_is_not_forgotten() -> None:
    line = Line(relaying=True)
    line.pay(0)
    before = line.statuses
    for nonce in range(1, 10):
        line.pay(0, nonce)
    assert line.heights == [10, 1, 1, 1, 1]
    assert line.statuses == before
    for _ in range(LINE):
        for number in range(LINE):
            if RELAY_TIMER in line.timers[number]:
                line.timers[number].discard(RELAY_TIMER)
                line.turn(number, TimerFired(RELAY_TIMER))
        line.settle()
    assert line.heights == [10] * LINE


def test_what_was_lost_on_the_way_comes_with_a_beat() -> None:
    line = Line(relaying=True)
    line.turn(0, Relaying(is_on=False))
    for number in range(1, LINE):
        line.turn(number, Relaying(is_on=False))
    line.pay(0)
    for _ in range(8 * LINE):
        for number in range(LINE):
            line.turn(number, TimerFired(BEAT_TIMER))
        line.settle()
    assert line.heights == [1] * LINE


def test_a_neighbour_that_has_the_block_is_not_told_of_it() -> None:
    relay, peers = Relay(), [NodeId(bytes([number]) * 32) for number in range(4)]
    relay.is_on = True
    relay.note(peers[0], 7)
    relay.note(peers[1], 6)
    told = relay.on_block(7, peers, lambda: Line(relaying=False).engines[0].replica.status(0))
    assert [one.to for one in told if isinstance(one, Broadcast)] == [tuple(peers[1:])]


@pytest.mark.parametrize("count", [1, 3, 10])
def test_without_a_validator_in_reach_a_transaction_goes_to_three_others(count: int) -> None:
    relay, peers = Relay(), {NodeId(bytes([number]) * 32) for number in range(count)}
    source = min(peers)
    assert relay.ways(peers, ()) == ()
    relay.is_on = True
    ways = relay.ways(peers, (), source)
    assert len(ways) == min(3, count - 1)
    assert source not in ways
    assert relay.ways(peers, (source,)) == (source,)
