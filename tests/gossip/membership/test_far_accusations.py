"""Accusations in a partial mesh: looked into where they arrive first, and then on their way without a pause."""

from __future__ import annotations

from itertools import count

import pytest

from gossip.effects import Broadcast, Effect, Send
from gossip.identity import NodeId
from gossip.membership.detector import Detector
from gossip.membership.messages import FetchRecordsOf, Ping, Rumours
from gossip.membership.suspicions import Statements
from tests.gossip.membership.town import FEDERATION, VERIFIER, node, signer

KNOWN = 5
FAR = range(20, 40)
ACCUSER, OTHER = 3, 4
NEAR = [node(number) for number in range(2, 9)]
MEMBERS = [*NEAR, *map(node, FAR)]


class Roster:
    """Seven neighbours and twenty members that are far."""

    tolerated, own_incarnation = 9, KNOWN

    def members(self) -> list[NodeId]:
        return MEMBERS

    def connected(self) -> list[NodeId]:
        return NEAR

    watched = friends = connected

    def is_far(self, node: NodeId) -> bool:
        return node not in NEAR

    def has_voice(self, node: NodeId) -> bool:
        return True

    def incarnation(self, node: NodeId) -> int | None:
        return KNOWN if node in MEMBERS else None


class WithMoreNeighbours(Roster):
    """Eighteen neighbours and forty members that are far."""

    def members(self) -> list[NodeId]:
        return [*self.connected(), *(node(number) for number in range(20, 60))]

    def connected(self) -> list[NodeId]:
        return [node(number) for number in range(2, 20)]

    watched = friends = connected


def detector(roster: Roster | None = None) -> Detector:
    roster = roster or Roster()
    core = Detector(Statements(FEDERATION, signer(1), VERIFIER), roster, lambda: 0.5, count(1))
    run(core, 0, 1)
    return core


def accuse(
    core: Detector, now_ms: int, accused: int, *, teller: int = ACCUSER, incarnation: int = KNOWN
) -> list[Effect]:
    said = Statements(FEDERATION, signer(ACCUSER), VERIFIER).suspect(node(accused), incarnation)
    return core.on_message(now_ms, node(teller), Rumours((said,), ()), lambda: True)


def run(core: Detector, since_ms: int, until_ms: int) -> dict[NodeId, int]:
    """Whose accusations were passed on until then, and when first; all neighbours answer."""
    told: dict[NodeId, int] = {}
    for now_ms in range(since_ms, until_ms):
        if core.due_ms > now_ms:
            continue
        for effect in core.tick(now_ms):
            match effect:
                case Send(to, Ping()):
                    core.heard(now_ms, to)
                case Broadcast(_, Rumours(suspicions)):
                    for one in suspicions:
                        told.setdefault(NodeId(one.node), now_ms)
                case _:
                    pass
        core.check_invariants()
    return told


def test_who_has_it_from_the_accuser_dials_the_accused_and_passes_nothing_on_that_is_false() -> (
    None
):
    core = detector()
    accuse(core, 10, 20)
    assert run(core, 10, 100) == {}
    assert node(20) in core.asked()
    core.heard(100, node(20))
    assert core.case(node(20)) is None
    assert run(core, 100, 5_000) == {}


def test_who_does_not_come_to_the_dial_is_told_of_soon() -> None:
    core = detector()
    accuse(core, 10, 20)
    assert run(core, 10, 1_000) == {node(20): 160}


def test_what_comes_from_another_than_the_accuser_is_passed_on_at_once_and_dialed_later() -> None:
    core = detector()
    accuse(core, 10, 20, teller=OTHER)
    assert run(core, 10, 1_000) == {node(20): 10}
    assert node(20) not in core.asked()
    run(core, 1_000, 2_600)
    assert node(20) in core.asked()


def test_what_another_tells_of_who_cried_wolf_lately_is_looked_into_first_as_well() -> None:
    """Liars pass on each other's lies; the second one of each ends where it arrives."""
    core = detector()
    accuse(core, 10, 20, teller=OTHER)
    run(core, 10, 100)
    core.heard(100, node(20))
    accuse(core, 1_000, 21, teller=OTHER)
    assert run(core, 1_000, 1_100) == {}
    assert node(21) in core.asked()
    # Who does not answer is told of all the same.
    assert run(core, 1_100, 2_000) == {node(21): 1_150}


@pytest.mark.parametrize(("has_answered", "turns"), [(False, 2), (True, 4)])
def test_against_who_has_answered_lately_it_is_passed_on_more_often(
    has_answered: bool, turns: int
) -> None:
    """Some have missed the answer, and can't take an accusation of a number that they have not seen."""
    core, incarnation = detector(WithMoreNeighbours()), KNOWN
    if has_answered:
        incarnation += 1
        life = Statements(FEDERATION, signer(20), VERIFIER).live(incarnation)
        core.on_message(1, node(OTHER), Rumours((), (life,)), lambda: True)
    accuse(core, 10, 20, teller=OTHER, incarnation=incarnation)
    told: list[NodeId] = []
    for now_ms in range(10, 1_400):
        while core.due_ms <= now_ms:
            for effect in core.tick(now_ms):
                match effect:
                    case Send(to, Ping()):
                        core.heard(now_ms, to)
                    case Broadcast(to, Rumours((_, *_))):
                        told += to
                    case _:
                        pass
    assert len(told) == len(set(told)) == 3 * turns


def test_one_accuser_makes_a_node_dial_few_at_a_time() -> None:
    core = detector()
    for accused in FAR:
        accuse(core, 10, accused)
    told = run(core, 10, 1_000)
    assert sorted(told) == sorted(map(node, FAR))
    dialed = {one for one, now_ms in told.items() if now_ms >= 160}
    assert len(dialed) == 8
    assert dialed <= set(core.asked())


@pytest.mark.parametrize(("cries", "is_sought"), [(0, True), (1, True), (2, False)])
def test_a_number_that_only_a_wolf_names_is_not_asked_for(cries: int, is_sought: bool) -> None:
    core = detector()
    for at_ms in range(10, 10 + 10 * cries, 10):
        accused = 20 + at_ms // 10
        accuse(core, at_ms, accused)
        run(core, at_ms, at_ms + 5)
        core.heard(at_ms + 5, node(accused))
    said = accuse(core, 100, 39, incarnation=KNOWN + 1)
    asks = [
        one for one in said if isinstance(one, Send) and isinstance(one.message, FetchRecordsOf)
    ]
    assert bool(asks) is is_sought


def test_an_accusation_does_not_wait_for_what_else_there_is_to_tell() -> None:
    """But within 100 ms of a turn, and within 200 ms of another one that did not wait: it goes with the next one."""
    core = detector()
    told: dict[NodeId, int] = {}
    for at_ms, until_ms, accused in ((10, 320, 20), (320, 330, 21), (330, 560, 22), (560, 900, 23)):
        accuse(core, at_ms, accused, teller=OTHER)
        for one, now_ms in run(core, at_ms, until_ms).items():
            told.setdefault(one, now_ms)
    assert told == {node(20): 10, node(21): 320, node(22): 520, node(23): 720}


def test_lateness_that_nobody_complains_of_goes_round_with_more_of_its_kind() -> None:
    core = detector()
    told: list[tuple[int, int]] = []
    for now_ms in range(10, 3_000):
        if now_ms in (10, 20, 210, 410):
            number = 2 + now_ms // 100
            life = Statements(FEDERATION, signer(number), VERIFIER).live(KNOWN + 1, 1_500)
            core.on_message(now_ms, node(OTHER), Rumours((), (life,)), lambda: True)
        while core.due_ms <= now_ms:
            for effect in core.tick(now_ms):
                match effect:
                    case Send(to, Ping()):
                        core.heard(now_ms, to)
                    case Broadcast(_, Rumours(_, lives)):
                        told.append((now_ms, len(lives)))
                    case _:
                        pass
    assert told[:2] == [(10, 1), (1_010, 3)]
