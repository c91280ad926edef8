"""Publications among many cores, on links that lose, on a virtual clock."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.broadcast.core import (
    Broadcaster,
    BroadcastEvent,
    Habits,
    Heard,
    Lost,
    Neighbourhood,
    Received,
    Say,
    TimerFired,
)
from gossip.broadcast.messages import (
    Have,
    Publication,
    Publish,
    Series,
    Span,
    Want,
    sign_publication,
)
from gossip.broadcast.sources import Source
from gossip.codec import Digest, encode
from gossip.effects import Broadcast, Effect, Notify, Rejected, Send, SetTimer
from gossip.identity import NodeId
from simulations.worlds.draws import Draws
from simulations.worlds.signatures import Keyring

FEDERATION = Digest(bytes(32))
KEYS = Keyring(Draws(0), real=False)


@dataclass
class Village:
    """`size` members, each connected with `degree` others in a ring and across it, or with all."""

    size: int
    degree: int | None = None
    loss: float = 0.0
    habits: Habits = field(default_factory=Habits)
    now_ms: int = 0
    sent: int = 0
    sent_bytes: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(self.size)
        self.signers = [KEYS.signer(b"village", at) for at in range(self.size)]
        self.ids = [NodeId(one.public) for one in self.signers]
        self.cores = [self._core(at) for at in range(self.size)]
        self.heard: list[list[Publication]] = [[] for _ in self.ids]
        self.lost: list[list[Lost]] = [[] for _ in self.ids]
        self.rejected: list[str] = []
        self.cut: Callable[[int, int], bool] = lambda _from, _to: False
        self._queue: list[tuple[int, int, int, BroadcastEvent]] = []
        self._order = 0
        for at in range(self.size):
            self.handle(at, Neighbourhood(self.friends(at), everybody=self.degree is None))

    def _core(self, at: int) -> Broadcaster:
        return Broadcaster(
            signer=self.signers[at],
            verifier=KEYS.verifier,
            federation=FEDERATION,
            begun_ms=1,
            is_member=set(self.ids).__contains__,
            jitter=self.draw.random,
            habits=self.habits,
        )

    def friends(self, at: int) -> tuple[NodeId, ...]:
        if self.degree is None:
            return tuple(sorted(self.ids[:at] + self.ids[at + 1 :]))
        steps = [1, *(2 + 7 * step for step in range(self.degree // 2 - 1))]
        places = {(at + sign * step) % self.size for step in steps for sign in (1, -1)}
        return tuple(sorted(self.ids[place] for place in places - {at}))

    def handle(self, at: int, event: BroadcastEvent) -> list[Effect]:
        effects = self.cores[at].handle(self.now_ms, event)
        self.cores[at].check_invariants()
        for effect in effects:
            match effect:
                case Send():
                    self._send(at, effect.to, effect.message)
                case Broadcast():
                    for peer in effect.to:
                        self._send(at, peer, effect.message)
                case SetTimer():
                    self._later(effect.delay_ms, at, TimerFired(effect.name))
                case Notify(what=Heard(publication=publication)):
                    self.heard[at].append(publication)
                case Notify(what=Lost() as lost):
                    self.lost[at].append(lost)
                case Rejected():
                    self.rejected.append(effect.reason)
                case _:
                    raise AssertionError(effect)
        return effects

    def _send(self, at: int, peer: NodeId, message: object) -> None:
        to = self.ids.index(peer)
        self.sent += 1
        self.sent_bytes += len(encode(message))
        if self.draw.random() >= self.loss and not self.cut(at, to):
            self._later(1, to, Received(self.ids[at], message))  # type: ignore[arg-type]

    def _later(self, delay_ms: int, at: int, event: BroadcastEvent) -> None:
        self._order += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._order, at, event))

    def run(self, for_ms: int) -> None:
        end_ms = self.now_ms + for_ms
        while self._queue and self._queue[0][0] <= end_ms:
            self.now_ms, _, at, event = heapq.heappop(self._queue)
            self.handle(at, event)
        self.now_ms = end_ms

    def say(self, at: int, payload: bytes, topic: str = "routing/decision") -> None:
        self.handle(at, Say(topic, payload))

    def payloads(self, at: int) -> list[bytes]:
        return [one.payload for one in self.heard[at]]


def test_everybody_connected_hears_it_at_once_and_one_message_each_is_all_it_takes() -> None:
    village = Village(30)
    village.say(0, b"hello")
    village.run(10)
    assert all(village.payloads(at) == [b"hello"] for at in range(30))
    assert village.sent == 29


@pytest.mark.parametrize(("size", "degree", "loss"), [(12, None, 0.3), (200, 8, 0.0), (60, 8, 0.2)])
def test_everybody_hears_everything_once(size: int, degree: int | None, loss: float) -> None:
    village = Village(size, degree, loss)
    for number in range(20):
        village.say(number % size, b"%d" % number)
        village.run(50)
    village.run(8_000)
    wanted = sorted(b"%d" % number for number in range(20))
    assert all(sorted(village.payloads(at)) == wanted for at in range(size))
    assert not any(village.lost)


def test_in_a_mesh_it_takes_a_second_at_most_and_few_messages() -> None:
    village = Village(200, 8)
    village.say(0, bytes(1000))
    village.run(1000)
    assert all(village.heard)
    copies = village.sent_bytes / 1000
    assert copies < 6 * 200, "no more than a handful of copies each"


def test_what_was_cut_off_comes_when_the_cut_heals() -> None:
    village = Village(6)
    village.cut = lambda one, other: 5 in (one, other)
    for number in range(100):
        village.say(0, b"%d" % number)
    village.run(3_000)
    assert village.heard[5] == []
    village.cut = lambda _one, _other: False
    village.handle(1, Neighbourhood(village.friends(1)[:-1], everybody=True))
    village.handle(1, Neighbourhood(village.friends(1), everybody=True))
    village.run(8_000)
    assert len(village.heard[5]) == 100


def test_what_nobody_has_any_more_is_told_as_lost() -> None:
    village = Village(3, habits=Habits(kept_bytes=2_000))
    village.cut = lambda _one, other: other == 2
    for _ in range(50):
        village.say(0, bytes(500))
    village.cut = lambda _one, _other: False
    village.say(0, b"first heard")
    village.run(100)
    village.cut = lambda _one, other: other == 2
    for _ in range(10):
        village.say(0, bytes(500))
    village.cut = lambda _one, _other: False
    village.say(0, b"after the gap")
    village.run(15_000)
    lost = [number for one in village.lost[2] for number in one.numbers]
    heard = [one.number for one in village.heard[2]]
    assert b"after the gap" in village.payloads(2)
    assert sorted({*lost, *(number for number in heard if number > 51)}) == list(range(52, 63))
    assert not village.lost[1]


def test_a_forged_or_changed_publication_is_refused() -> None:
    village = Village(4)
    series = Series(village.ids[0], 1)
    publication = Publication(series.publisher, 1, 1, 0, "routing/decision", b"lie")
    forged = sign_publication(village.signers[3], FEDERATION, publication)
    village.handle(1, Received(village.ids[3], Publish((forged,))))
    assert village.heard[1] == []
    assert village.rejected == ["a publication that its publisher did not sign"]
    stranger = KEYS.signer(b"stranger", 0)
    outside = msgspec.structs.replace(publication, publisher=stranger.public)
    signed = sign_publication(stranger, FEDERATION, outside)
    village.handle(1, Received(village.ids[3], Publish((signed,))))
    assert village.heard[1] == []


def test_a_publisher_that_floods_is_taken_at_its_rate() -> None:
    village = Village(2, habits=Habits(per_s=10, burst=20))
    for _ in range(100):
        village.say(0, b"x")
    village.run(100)
    assert len(village.heard[1]) <= 22
    village.run(4_000)
    assert len(village.heard[1]) <= 62


def test_a_publisher_that_was_restarted_begins_to_count_anew() -> None:
    village = Village(3)
    village.say(0, b"before")
    village.run(10)
    village.cores[0] = Broadcaster(
        signer=village.signers[0],
        verifier=KEYS.verifier,
        federation=FEDERATION,
        begun_ms=2,
        is_member=set(village.ids).__contains__,
        jitter=village.draw.random,
    )
    village.handle(0, Neighbourhood(village.friends(0), everybody=True))
    village.say(0, b"after")
    village.run(10)
    assert village.payloads(1) == [b"before", b"after"]


@given(st.lists(st.integers(1, 200), min_size=1, max_size=100))
def test_a_source_counts_each_number_once_and_knows_what_is_missing(numbers: list[int]) -> None:
    source = Source.beginning_at(numbers[0])
    taken: set[int] = set()
    for number in numbers:
        if not source.has(number):
            source.take(0, number)
            taken.add(number)
    assert set(source.missing()) == set(range(numbers[0], max(taken) + 1)) - taken
    assert set(source.give_up(1)) == set(range(numbers[0], max(taken) + 1)) - taken
    assert source.missing() == []
    assert all(source.has(number) for number in range(numbers[0], max(taken) + 1))


def _spans() -> st.SearchStrategy[tuple[Span, ...]]:
    numbers = st.lists(st.integers(0, 2**63 - 1), max_size=5).map(tuple)
    ids = st.sampled_from([bytes([one]) * 32 for one in range(3)])
    return st.lists(st.builds(Span, ids, st.integers(0, 5), numbers), max_size=4).map(tuple)


@given(st.lists(st.one_of(_spans().map(Have), _spans().map(Want)), max_size=20))
def test_offers_and_requests_of_any_form_do_no_harm(messages: list[Have | Want]) -> None:
    village = Village(3)
    village.say(0, b"x")
    for message in messages:
        village.handle(0, Received(village.ids[1], message))
    village.run(2_000)
    assert village.payloads(1) == [b"x"]
