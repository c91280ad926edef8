"""Who has missed a death learns of it from a peer that it pings, and nobody pays for it otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, pairwise, repeat

import pytest

from gossip.codec import Wire
from gossip.effects import Effect, Send
from gossip.identity import NodeId
from gossip.membership.detector import Detector
from gossip.membership.messages import (
    FetchDeaths,
    FetchRecordsOf,
    Ping,
    Pong,
    Rumours,
)
from gossip.membership.missed_deaths import PAUSE_MS, SETTLED_MS
from gossip.membership.notices import Liveness
from gossip.membership.voices import FetchVoices, Voices
from node.bench.detection_world import DetectionWorld, Resident
from node.bench.meshed_world import MeshedWorld
from tests.gossip.membership.test_detection import (
    Roster,
    federation,
    join_as_liar,
    resident,
    statements,
)
from tests.gossip.membership.town import LATENCY_MS, node

KNOWN = 5
DEAD = 8
PEER = node(2)


class Knowing(Roster):
    """Eight nodes, all connected; of the dead one this one has seen that record."""

    def __init__(self, incarnation: int) -> None:
        self.seen = incarnation

    def incarnation(self, one: NodeId) -> int | None:
        return self.seen if one == node(DEAD) else super().incarnation(one)


def detector(number: int = 1, *, seen: int = KNOWN) -> Detector:
    return Detector(statements(number), Knowing(seen), lambda: 0.5, count(1))


def run(core: Detector, since_ms: int, until_ms: int) -> list[Effect]:
    """All but the dead answer its pings."""
    done: list[Effect] = []
    for now_ms in range(since_ms, until_ms, 10):
        effects = core.tick(now_ms) if core.due_ms <= now_ms else []
        for effect in effects:
            match effect:
                case Send(to, Ping()) if to != node(DEAD):
                    core.heard(now_ms, to)
                case _:
                    pass
        done += effects
        core.check_invariants()
    return done


def bereaved(number: int = 2, *, seen: int = KNOWN, life: int | None = None) -> Detector:
    """One to whom the dead one is dead, since it last had this record or signed this life."""
    core = detector(number, seen=seen)
    lives = () if life is None else (statements(DEAD).live(life),)
    voices = tuple(statements(one).suspect(node(DEAD), life or seen) for one in (3, 4, 5))
    core.on_message(0, node(3), Rumours(voices, lives), always)
    run(core, 0, 6_000 + SETTLED_MS)
    assert core.is_dead(node(DEAD))
    return core


def always() -> bool:
    return True


def asked(effects: Sequence[Effect]) -> FetchDeaths:
    (one,) = effects
    assert isinstance(one, Send)
    assert isinstance(one.message, FetchDeaths)
    return one.message


def told(effects: Sequence[Effect]) -> Rumours:
    (one,) = effects
    assert isinstance(one, Send)
    assert isinstance(one.message, Rumours)
    return one.message


def test_who_knows_of_fewer_asks_for_what_it_lacks_and_finds_out_for_itself() -> None:
    core, other = detector(), bereaved()
    question = asked(core.on_dead_count(0, PEER, other.dead_count(20_000)))
    answer = told(other.on_message(20_000, node(1), question, always))
    assert [(one.accuser, one.node) for one in answer.suspicions] == [(PEER, node(DEAD))]
    core.on_message(0, PEER, answer, always)
    run(core, 0, 4_000)
    assert core.is_suspect(node(DEAD))
    more = tuple(statements(one).suspect(node(DEAD), KNOWN) for one in (3, 4, 5))
    core.on_message(4_000, node(3), Rumours(more, ()), always)
    run(core, 4_000, 6_000)
    assert core.is_dead(node(DEAD))


def test_it_counts_for_others_once_they_should_all_have_concluded_by_themselves() -> None:
    core = bereaved()
    counts = [core.dead_count(now_ms) for now_ms in range(0, 6_000 + SETTLED_MS, 100)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 1)
    case = core.case(node(DEAD))
    assert case is not None
    assert case.dead_ms is not None
    assert core.dead_count(case.dead_ms + SETTLED_MS - 1) == 0
    assert core.dead_count(case.dead_ms + SETTLED_MS) == 1


def test_what_is_looked_into_already_is_not_told_again() -> None:
    core, other = detector(), bereaved()
    core.on_message(0, node(6), Rumours((statements(6).suspect(node(DEAD), KNOWN),), ()), always)
    question = asked(core.on_dead_count(0, PEER, 1))
    assert other.on_message(20_000, node(1), question, always) == []


def test_a_death_after_an_answer_that_did_not_arrive_is_told_with_the_answer() -> None:
    core, other = detector(), bereaved(life=KNOWN + 1)
    question = asked(core.on_dead_count(0, PEER, 1))
    answer = told(other.on_message(20_000, node(1), question, always))
    core.on_message(0, PEER, answer, always)
    case = core.case(node(DEAD))
    assert case is not None
    assert case.incarnation == KNOWN + 1


def test_a_death_under_a_number_that_was_not_seen_is_taken_when_the_record_has_come() -> None:
    roster, other = Knowing(KNOWN), bereaved(seen=KNOWN + 1)
    core = Detector(statements(1), roster, lambda: 0.5, count(1))
    question = asked(core.on_dead_count(0, PEER, 1))
    answer = told(other.on_message(20_000, node(1), question, always))
    wishes = [one for one in core.on_message(0, PEER, answer, always) if isinstance(one, Send)]
    assert [type(one.message) for one in wishes] == [FetchRecordsOf, FetchVoices]
    fetch = wishes[1].message
    assert isinstance(fetch, FetchVoices)
    roster.seen += 1
    (voices,) = other.on_message(20_000, node(1), fetch, always)
    assert isinstance(voices, Send)
    assert isinstance(voices.message, Voices)
    core.on_message(10, PEER, voices.message, always)
    case = core.case(node(DEAD))
    assert case is not None
    assert len(case.voices) > Roster.tolerated


def test_of_many_dead_some_are_told_at_a_time() -> None:
    world = DetectionWorld(64, loss=0, slow=0, liars=0, seed=1)
    world.run(5_000)
    for one in world.names[:12]:
        world.kill(one)
    world.run(80_000)
    other = world.residents[world.names[20]].core
    assert other.dead_count(world.now_ms) == 12
    named: set[bytes] = set()
    for salt in range(20):
        question = FetchDeaths(salt, b"")
        answer = told(other.on_message(world.now_ms, world.names[30], question, always))
        assert len(answer.suspicions) == 8
        named.update(one.node for one in answer.suspicions)
    assert named == set(world.names[:12])


def test_a_liar_that_says_none_costs_nothing_and_one_that_says_many_a_question_now_and_then() -> (
    None
):
    core = detector()
    assert all(core.on_dead_count(now_ms, PEER, 0) == [] for now_ms in range(0, 600_000, 1_000))
    sent_ms = [
        now_ms
        for now_ms in range(0, 2_000_000, 1_000)
        if core.on_dead_count(now_ms, PEER, 2**63 - 1)
    ]
    pauses = [later - earlier for earlier, later in pairwise(sent_ms)]
    assert pauses == [PAUSE_MS, 4 * PAUSE_MS, 16 * PAUSE_MS, *[64 * PAUSE_MS] * 5]
    # Who says as many as we know is believed anew, but the pause goes on.
    later_ms = sent_ms[-1] + 64 * PAUSE_MS
    asked_ms = [
        now_ms
        for now_ms in range(later_ms - 1_000, later_ms + 3 * PAUSE_MS, 10)
        for dead in (0, 1)
        if core.on_dead_count(now_ms, PEER, dead)
    ]
    assert asked_ms == [later_ms, later_ms + PAUSE_MS, later_ms + 2 * PAUSE_MS]
    core.check_invariants()


def test_who_asks_for_the_dead_again_and_again_is_refused() -> None:
    town = federation(5)
    join_as_liar(town, 50, range(1, 2))
    town.kill(5)
    town.run(15_000)
    town.sent.clear()
    for salt in range(100):
        town.say(50, 1, FetchDeaths(salt, b""))
    town.run(LATENCY_MS)
    answers = [
        message
        for _, to, message in town.sent
        if to == node(50) and isinstance(message, Rumours) and message.suspicions
    ]
    assert 0 < sum(one.suspicions[0].node == node(5) for one in answers) <= 8
    assert resident(town, 1).rejected[-1].reason == "it fetches too often"


def test_nobody_says_to_strangers_how_many_are_dead() -> None:
    town = federation(5)
    join_as_liar(town, 50, range(1, 2))
    town.kill(5)
    town.run(15_000)
    assert resident(town, 1).status(5) is Liveness.DEAD
    town.meet(51, 1)
    town.run(0)
    for asker in (50, 51):
        town.say(asker, 1, Ping(7))
    town.run(LATENCY_MS)
    said = {
        to: message.dead
        for _, to, message in town.sent
        if to in (node(50), node(51)) and isinstance(message, Pong)
    }
    assert said == {node(50): 1, node(51): 0}


def test_who_restarts_soon_knows_who_has_long_been_dead() -> None:
    town = federation(12)
    for gone in (10, 11, 12):
        town.kill(gone)
    town.run(60_000)
    kept = resident(town, 9).disk
    town.kill(9)
    town.run(10_000)
    anew = town.settle(9, disk=kept)
    town.run(9_000)
    assert {anew.status(gone) for gone in (10, 11, 12)} == {Liveness.DEAD}


class Deaf(DetectionWorld):
    """For a while these hear nothing of what others say of each other.

    `idle_questions` are asked by who has heard of all losses no later than a second after the first did.
    """

    deaf: frozenset[NodeId] = frozenset()
    idle_questions = 0

    def _arrive(self, sender: Resident, one: Resident, message: Wire) -> None:
        if isinstance(message, FetchDeaths):
            self.idle_questions += all(map(self._heard_in_time, repeat(sender), self.losses))
        if one.node not in self.deaf or isinstance(message, Ping | Pong):
            super()._arrive(sender, one, message)

    def _heard_in_time(self, one: Resident, gone: NodeId) -> bool:
        case, first_ms = one.core.case(gone), self.losses[gone].suspected_ms
        return case is not None and first_ms is not None and case.opened_ms <= first_ms + 1_000


class DeafAmongNeighbours(Deaf, MeshedWorld):
    """The same in a partial mesh."""


@pytest.mark.parametrize("make", [Deaf, DeafAmongNeighbours])
def test_who_has_missed_everything_learns_it_within_seconds(make: type[Deaf]) -> None:
    world = make(128, loss=0, slow=0, liars=0, seed=3)
    world.run(5_000)
    gone = world.names[0]
    near = set(world.residents[gone].connected()) if make is DeafAmongNeighbours else set()
    far = [name for name in world.names[1:] if name not in near][:12]
    world.deaf = frozenset(far)
    world.kill(gone)
    world.run(20_000)
    assert all(world.is_dead_to(name, gone) for name in world.names[1:] if name not in far)
    unaware = [name for name in far if world.residents[name].core.case(gone) is None]
    # Who happened to ask the dead one itself is no witness.
    assert len(unaware) >= 6
    world.deaf = frozenset()
    world.run(5_000)
    assert all(world.residents[name].core.is_suspect(gone) for name in unaware)
    world.run(8_000)
    assert all(world.is_dead_to(name, gone) for name in unaware)


@pytest.mark.parametrize("seed", [4, 5])
@pytest.mark.parametrize("make", [Deaf, DeafAmongNeighbours])
def test_who_has_heard_of_all_deaths_in_time_never_asks(make: type[Deaf], seed: int) -> None:
    """In one of these worlds gossip reaches a member late, which asks."""
    world = make(128, loss=0, slow=0, liars=0, seed=seed)
    world.run(5_000)
    for gone in world.names[:3]:
        world.kill(gone)
        world.run(20_000)
    assert all(world.is_dead_to(name, gone) for name in world.names[3:] for gone in world.names[:3])
    assert world.idle_questions == 0
