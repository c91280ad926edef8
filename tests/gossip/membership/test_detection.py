"""Who is gone is found out by all together, and nobody is talked to death."""

from __future__ import annotations

from itertools import count

import pytest

from gossip.effects import Broadcast, Effect, Send
from gossip.identity import NodeId
from gossip.membership.detector import Detector
from gossip.membership.messages import (
    Heeded,
    Hello,
    MembershipMessage,
    Ping,
    Pong,
    ProbeFor,
    Proof,
    Rumours,
    Standing,
    Welcome,
)
from gossip.membership.notices import Liveness, StatusChanged
from gossip.membership.suspicions import (
    Case,
    Life,
    Statements,
    Suspicion,
    Wolves,
)
from tests.gossip.membership.town import (
    FEDERATION,
    LATENCY_MS,
    VERIFIER,
    Resident,
    Town,
    address,
    node,
    signed_record,
    signer,
)


def federation(size: int) -> Town:
    town = Town()
    for number in range(1, size + 1):
        town.settle(number, bootstrap=(address(1),) if number > 1 else ())
    town.run(5_000)
    return town


def resident(town: Town, number: int) -> Resident:
    return town.residents[node(number)]


def statements(number: int) -> Statements:
    return Statements(FEDERATION, signer(number), VERIFIER)


def seq(town: Town, number: int) -> int:
    own = resident(town, number).core.own_record
    assert own is not None
    return own.record.seq


def incarnation(town: Town, number: int) -> int:
    """As the first member knows it."""
    record = resident(town, 1).core.record_of(node(number))
    assert record is not None
    return record.seq


def join_as_liar(town: Town, liar: int, victims: range) -> None:
    """An admitted node that says what it likes to cores."""
    town.ledger[node(liar)] = "validator"
    for victim in victims:
        town.meet(liar, victim)
        town.run(0)
        record = signed_record(liar)
        town.say(liar, victim, Hello(FEDERATION, record, None, 1))
        greeting = next(
            message
            for sender, to, message in reversed(town.sent)
            if isinstance(message, Hello) and (sender, to) == (node(victim), node(liar))
        )
        welcome = Welcome(FEDERATION, None, record, Standing.MEMBER, "", greeting.nonce)
        town.say(liar, victim, welcome)
    town.run(LATENCY_MS)


def told(one: Resident, about: int) -> list[Liveness]:
    return [news.after for news in one.told(StatusChanged) if news.node == node(about)]


def test_a_frozen_member_is_suspect_to_all_soon_and_dead_to_all_after_the_time_to_refute() -> None:
    town = federation(7)
    resident(town, 4).silent = True
    town.run(4_500)
    others = [one for one in town.residents.values() if one.number != 4]
    assert {one.status(4) for one in others} == {Liveness.SUSPECT}
    town.run(8_000)
    assert {one.status(4) for one in others} == {Liveness.DEAD}
    assert all(told(one, 4)[-2:] == [Liveness.SUSPECT, Liveness.DEAD] for one in others)
    assert {row.status for one in others for row in one.core.table() if row.name != "node 4"} == {
        Liveness.ALIVE
    }


def test_who_is_reached_through_others_is_alive() -> None:
    town = federation(5)
    town.cut_off(2, 3)
    town.run(60_000)
    assert resident(town, 2).status(3) is Liveness.ALIVE
    assert resident(town, 3).status(2) is Liveness.ALIVE
    assert any(isinstance(message, Proof) for _, _, message in town.sent)


def test_without_more_than_f_voices_a_member_stays_suspect_and_gets_no_work() -> None:
    town = federation(4)
    for number in (2, 3, 4):
        town.kill(number)
    town.run(120_000)
    last = resident(town, 1)
    assert {row.status for row in last.core.table()} == {Liveness.SUSPECT}
    assert last.core.candidates("embed") == ()


def test_two_members_need_one_voice() -> None:
    town = federation(2)
    town.kill(2)
    town.run(6_000)
    assert resident(town, 1).status(2) is Liveness.DEAD


def test_f_liars_accuse_in_vain_and_cost_their_victim_one_signature_a_second() -> None:
    town = federation(5)
    for liar in (50, 51):
        join_as_liar(town, liar, range(1, 6))
    before = seq(town, 2)
    for _ in range(200):
        for liar in (50, 51):
            for number in range(1, 6):
                known = max(incarnation(town, 2), seq(town, 2))
                lie = statements(liar).suspect(node(2), known)
                town.say(liar, number, Rumours((lie,), ()))
        town.run(50)
    assert seq(town, 2) - before <= 11
    others = [resident(town, number) for number in (1, 3, 4, 5)]
    assert all(one.status(2) is Liveness.ALIVE for one in others)
    assert all(Liveness.SUSPECT not in told(one, 2)[1:] for one in others)


def test_who_is_suspected_and_slow_refutes_and_is_alive_to_all() -> None:
    town = federation(6)
    before = seq(town, 3)
    resident(town, 3).silent = True
    town.run(4_500)
    assert Liveness.SUSPECT in {resident(town, number).status(3) for number in (1, 2, 4, 5, 6)}
    resident(town, 3).silent = False
    town.run(5_000)
    assert seq(town, 3) > before
    assert {resident(town, number).status(3) for number in (1, 2, 4, 5, 6)} == {Liveness.ALIVE}


@pytest.mark.parametrize(
    "rumours",
    [
        Rumours((statements(50).suspect(node(2), 1),), ()),
        Rumours((), (statements(50).live(9),)),
    ],
)
def test_nobody_speaks_for_another(rumours: Rumours) -> None:
    town = federation(4)
    join_as_liar(town, 50, range(1, 2))
    forged = Rumours(
        tuple(
            Suspicion(node(3), one.node, incarnation(town, 2), one.signature)
            for one in rumours.suspicions
        ),
        tuple(Life(node(2), 2**40, 0, one.signature) for one in rumours.lives),
    )
    town.say(50, 1, forged)
    town.run(LATENCY_MS)
    refused = resident(town, 1).rejected[-1]
    assert refused.peer == node(50)
    assert "did not sign" in refused.reason


def test_a_helper_that_makes_up_a_sign_of_life_is_refused_and_the_dead_are_found() -> None:
    town = federation(3)
    join_as_liar(town, 50, range(1, 4))
    resident(town, 3).silent = True
    for _ in range(300):
        asked = [(sender, message) for sender, to, message in town.sent if to == node(50)]
        town.sent.clear()
        for asker, message in asked:
            number = town.residents[asker].number
            if isinstance(message, Ping):
                town.say(50, number, Pong(message.nonce, town.now_ms, 0))
            elif isinstance(message, ProbeFor) and message.node == node(3):
                forged = statements(50).prove(asker, message.nonce)
                town.say(50, number, Proof(node(3), asker, message.nonce, forged))
        town.run(100)
    assert resident(town, 1).status(3) is Liveness.DEAD
    assert any("did not sign" in one.reason for one in resident(town, 1).rejected)


def test_an_old_life_does_not_bring_back_the_dead() -> None:
    town = federation(4)
    join_as_liar(town, 50, range(1, 2))
    kept = statements(4).live(seq(town, 4))
    town.kill(4)
    town.run(12_000)
    assert resident(town, 1).status(4) is Liveness.DEAD
    town.say(50, 1, Rumours((), (kept,)))
    town.run(LATENCY_MS)
    assert resident(town, 1).status(4) is Liveness.DEAD


@pytest.mark.parametrize("step", [-1, 1, 2**61])
def test_suspicions_of_other_incarnations_open_no_case(step: int) -> None:
    town = federation(4)
    join_as_liar(town, 50, range(1, 2))
    town.sent.clear()
    lie = statements(50).suspect(node(2), incarnation(town, 2) + step)
    town.say(50, 1, Rumours((lie,), ()))
    town.run(190)
    passed_on = [
        message
        for sender, _, message in town.sent
        if sender == node(1) and isinstance(message, Rumours)
    ]
    assert passed_on == []


def test_after_all_have_restarted_the_old_suspicions_are_void() -> None:
    town = federation(4)
    old = incarnation(town, 2)
    disks = {number: resident(town, number).disk for number in range(1, 5)}
    for number in range(1, 5):
        town.kill(number)
    for number in range(1, 5):
        town.settle(number, disk=disks[number])
    town.run(5_000)
    join_as_liar(town, 50, range(1, 5))
    accusers = (1, 3, 4)
    voices = tuple(statements(number).suspect(node(2), old) for number in accusers)
    for number in accusers:
        town.say(50, number, Rumours(voices, ()))
    town.run(20_000)
    for number in accusers:
        assert resident(town, number).status(2) is Liveness.ALIVE
        assert Liveness.SUSPECT not in told(resident(town, number), 2)[2:]


def test_confirmations_shorten_the_time_to_refute_down_to_the_least() -> None:
    case = Case(1, 0)
    deadlines = []
    for number in range(1, 6):
        case.voices[node(number)] = statements(number).suspect(node(9), 1)
        deadlines.append(case.deadline_ms(100, 1_000))
    assert deadlines[0] == 48_000
    assert deadlines == sorted(deadlines, reverse=True)
    assert deadlines[2:] == [8_000] * 3
    assert Case(1, 0).deadline_ms(2, 1_000) == 4_000


class Roster:
    """Eight nodes, all connected."""

    tolerated, own_incarnation = 2, 5

    def members(self) -> list[NodeId]:
        return [node(number) for number in range(2, 9)]

    watched = connected = friends = members

    def is_far(self, node: NodeId) -> bool:
        return False

    def has_voice(self, node: NodeId) -> bool:
        return True

    def incarnation(self, node: NodeId) -> int | None:
        return 5 if node in self.members() else None


def detector() -> Detector:
    return Detector(statements(1), Roster(), lambda: 0.5, count(1))


def sends(effects: list[Effect], kind: type[MembershipMessage]) -> list[NodeId]:
    return [one.to for one in effects if isinstance(one, Send) and isinstance(one.message, kind)]


def test_every_member_is_asked_once_in_each_round() -> None:
    core, asked = detector(), []
    for now_ms in range(0, 14_000, 1_000):
        for peer in sends(core.tick(now_ms), Ping):
            asked.append(peer)
            core.heard(now_ms, peer)
    assert sorted(asked[:7]) == sorted(asked[7:]) == sorted(Roster().members())


def test_who_gets_no_answer_from_anybody_asks_more_slowly() -> None:
    core = detector()
    asked: list[NodeId] = []
    for now_ms in range(0, 60_000, 100):
        asked += sends(core.tick(now_ms), Ping)
        core.check_invariants()
    # Each is asked five times more.
    assert len(asked) / 6 < 15


def test_who_does_not_answer_is_asked_five_times_more_and_through_helpers_from_the_second_on() -> (
    None
):
    core = detector()
    (first,) = sends(core.tick(0), Ping)
    helped = []
    for now_ms in (500, 580, 660, 740, 820):
        effects: list[Effect] = []
        while core.due_ms <= now_ms:
            effects += core.tick(now_ms)
        assert sends(effects, Ping) == [first]
        helped.append(any(isinstance(one, Broadcast) for one in effects))
    assert helped == [False, True, False, False, False]
    assert not core.is_suspect(first)
    core.tick(900)
    assert core.is_suspect(first)


def test_a_suspect_is_asked_less_in_its_turn_and_still_through_another() -> None:
    """It may be only the way between the two that is cut."""
    core = detector()
    (suspect,) = sends(core.tick(0), Ping)
    asked: list[NodeId] = []
    helpers: list[NodeId] = []
    counts = []
    for until_ms in (950, 14_000):
        while core.due_ms < until_ms:
            now_ms = core.due_ms
            for effect in core.tick(now_ms):
                match effect:
                    case Send(to, Ping()):
                        asked.append(to)
                        if to != suspect:
                            core.heard(now_ms, to)
                    case Broadcast(to, ProbeFor(_, nonce)):
                        helpers += to
                        for helper in to:
                            core.on_message(now_ms, helper, Heeded(nonce), lambda: True)
                    case _:
                        pass
        counts.append((asked.count(suspect), len(helpers)))
    assert core.is_suspect(suspect)
    assert counts == [(5, 3), (5 + 3, 3 + 1)]


def rumours(core: Detector, until_ms: int) -> list[Rumours]:
    """What it passes on until then."""
    said: list[Effect] = []
    while core.due_ms <= until_ms:
        said += core.tick(core.due_ms)
    told = [one.message for one in said if isinstance(one, Broadcast)]
    return [one for one in told if isinstance(one, Rumours)]


def test_whom_another_accuses_is_asked_three_times_and_not_through_others() -> None:
    """All that hear of it ask for themselves, so a wrong answer or two are outvoted."""
    core = detector()
    core.tick(0)
    (accused, _, *_) = [one for one in Roster().members() if one not in core.asked()]
    lie = statements(9).suspect(accused, 5)
    core.on_message(0, node(9), Rumours((lie,), ()), lambda: True)
    effects: list[Effect] = []
    while not core.is_suspect(accused):
        for one in core.asked():
            if one != accused:
                core.heard(core.due_ms, one)
        effects += core.tick(core.due_ms)
    assert sends(effects, Ping).count(accused) == 3
    assert not any(
        isinstance(one, Broadcast)
        and isinstance(one.message, ProbeFor)
        and one.message.node == accused
        for one in effects
    )


def test_an_accusation_is_passed_on_no_more_when_the_accused_has_spoken() -> None:
    core = detector()
    core.tick(0)
    accused = next(one for one in Roster().members() if one not in core.asked())
    told = Rumours((statements(9).suspect(accused, 5),), ())
    core.on_message(0, node(9), told, lambda: True)
    first = rumours(core, 150)
    assert [one.suspicions for one in first] == [told.suspicions]
    core.heard(150, accused)
    assert rumours(core, 450) == []


def test_a_life_is_told_to_three_where_all_have_asked_the_accused_themselves() -> None:
    core = detector()
    core.tick(0)
    accused = next(one for one in Roster().members() if one not in core.asked())
    told = Rumours((statements(9).suspect(accused, 5),), ())
    core.on_message(0, node(9), told, lambda: True)
    number = next(one for one in range(2, 9) if node(one) == accused)
    life = statements(number).live(6)
    core.on_message(10, node(9), Rumours((), (life,)), lambda: True)
    assert [one.lives for one in rumours(core, 1_400) if one.lives] == [(life,)]


def test_a_flood_of_suspicions_leaves_a_bounded_case() -> None:
    core = detector()
    flood = tuple(statements(number).suspect(node(2), 5) for number in range(3, 9))
    core.on_message(0, node(3), Rumours(flood, ()), lambda: True)
    case = core.case(node(2))
    assert case is not None
    assert len(case.voices) == Roster.tolerated + 2
    core.on_message(0, node(3), Rumours(flood, ()), lambda: False)
    assert not core.is_dead(node(2))


def test_what_a_peer_can_not_afford_is_not_checked() -> None:
    core = detector()
    lie = statements(3).suspect(node(2), 5)
    core.on_message(0, node(3), Rumours((lie,), ()), lambda: False)
    assert core.case(node(2)) is None


def test_who_cries_wolf_again_and_again_is_muted_for_longer_and_longer() -> None:
    wolves = Wolves()
    pauses = []
    now_ms = 0
    for _ in range(5):
        wolves.cried(now_ms, node(3))
        began_ms = now_ms
        while wolves.is_muted(now_ms, node(3)):
            now_ms += 500
        pauses.append(now_ms - began_ms)
    assert pauses == [0, 8_000, 32_000, 120_000, 120_000]
    wolves.cried(now_ms + 200_000, node(3))
    assert not wolves.is_muted(now_ms + 200_001, node(3))
    assert not wolves.is_muted(0, node(4))


def test_whom_only_its_accuser_tells_of_it_answers_that_one_alone() -> None:
    """Nobody else heard of the accusation; where somebody passes it on, all hear the answer."""
    town = federation(4)
    join_as_liar(town, 50, range(1, 5))

    def answered(teller: int) -> set[NodeId]:
        town.sent.clear()
        lie = statements(50).suspect(node(2), max(incarnation(town, 2), seq(town, 2)))
        town.say(teller, 2, Rumours((lie,), ()))
        town.run(950)
        said = [one for one in town.sent if isinstance(one[2], Rumours) and one[2].lives]
        return {to for sender, to, _ in said if sender == node(2)}

    assert answered(50) == {node(50)}
    town.run(2_000)
    assert answered(3) > {node(1)}
