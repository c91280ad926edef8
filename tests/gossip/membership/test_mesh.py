"""In a large federation a bounded number of connections is enough: nobody is lost, and nobody is missed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.identity import NodeId
from gossip.membership import Timing
from gossip.membership.events import Leaving, Needed
from gossip.membership.gate import Gate
from gossip.membership.links import Link
from gossip.membership.mesh import Mesh, MeshHabits
from gossip.membership.messages import Leave, Rumours, Spare
from gossip.membership.notices import Liveness, StatusChanged
from gossip.membership.peer_table import PeerTable
from gossip.membership.suspicions import Statements
from tests.gossip.membership.town import (
    FEDERATION,
    LATENCY_MS,
    VERIFIER,
    Disk,
    Resident,
    Town,
    address,
    node,
    signed_record,
    signer,
)

FEW = MeshHabits(full_up_to=6, neighbours=3, validators=1, room=8, seats=4)
MOST = 512
NAMES = [node(number) for number in range(MOST)]
TABLE = PeerTable()
for _number in range(MOST):
    TABLE.put(0, signed_record(_number, addresses=("/ip4/10.0.1.1/tcp/1",)))


def mesh_of(count: int, number: int, validators: int = 4) -> tuple[Mesh, Gate]:
    """One of `count` nodes that knows all others and is connected with nobody."""
    ledger = {
        name: "validator" if at < validators else "observer"
        for at, name in enumerate(NAMES[:count])
    }
    gate = Gate(NAMES[number], ledger.get, Disk(), lambda: 0.0, has_home=True)
    return Mesh(gate, TABLE, signer(number), FEDERATION), gate


def choices(count: int, validators: int = 4) -> dict[NodeId, set[NodeId]]:
    """Whom each of `count` nodes wants that know each other and are connected with nobody yet."""
    return {
        NAMES[number]: set(mesh_of(count, number, validators)[0].wanted())
        for number in range(count)
    }


def edges_of(wanted: Mapping[NodeId, set[NodeId]]) -> set[frozenset[NodeId]]:
    return {frozenset((one, other)) for one, others in wanted.items() for other in others}


def town_of(
    count: int, validators: int, habits: MeshHabits, seed: int = 1, timing: Timing | None = None
) -> Town:
    town, dice = Town(), random.Random(seed)
    for number in range(1, count + 1):
        town.settle(
            number,
            role="validator" if number <= validators else "observer",
            bootstrap=(address(1),) if number > 1 else (),
            mesh=habits,
            jitter=dice.random,
            timing=timing,
        )
        town.run(200)
    town.run(90_000)
    return town


def number_of(one: Resident) -> int:
    assert one.core.own_record is not None
    return one.core.own_record.record.seq


def degrees(town: Town) -> dict[int, int]:
    return {
        one.number: sum(one.node in line for line in town.lines) for one in town.residents.values()
    }


def is_connected(nodes: Iterable[NodeId], edges: Iterable[frozenset[NodeId]]) -> bool:
    near: dict[NodeId, set[NodeId]] = {one: set() for one in nodes}
    for edge in edges:
        if near.keys() >= edge and len(edge) == 2:
            one, other = edge
            near[one].add(other)
            near[other].add(one)
    start = next(iter(near))
    seen, ahead = {start}, [start]
    while ahead:
        fresh = near[ahead.pop()] - seen
        seen |= fresh
        ahead += fresh
    return len(seen) == len(near)


def test_who_counts_and_who_votes_is_looked_up_when_it_changes() -> None:
    ledger = dict.fromkeys(NAMES[:80], "observer") | {NAMES[0]: "validator"}
    table = PeerTable()
    for number in range(1, 80):
        table.put(0, signed_record(number))
    gate = Gate(NAMES[0], ledger.get, Disk(), lambda: 0.0, has_home=True)
    mesh = Mesh(gate, table, signer(0), FEDERATION)
    removed, gone, promoted = [one for one in NAMES[1:80] if one not in mesh.wanted()][:3]
    assert {removed, gone, promoted} < set(mesh.members())
    table.left(gone, 1)
    assert gone not in mesh.members()
    table.returned(gone)
    assert gone in mesh.members()
    del ledger[removed]
    ledger[promoted] = "validator"
    mesh.review()
    assert removed not in mesh.members()
    assert promoted in mesh.wanted()
    # What nobody tells, an invite that has expired, is found within seconds.
    ledger[removed] = "observer"
    gate.now_ms += 5_000
    assert removed in mesh.members()


@pytest.mark.parametrize("count", [8, 50])
def test_in_a_small_federation_everybody_is_connected_with_everybody(count: int) -> None:
    everybody = set(NAMES[:count])
    assert choices(count) == {name: everybody - {name} for name in everybody}


@pytest.mark.parametrize("count", [51, 60, 128, 512])
def test_in_a_large_one_a_bounded_number_of_connections_holds_all_together(count: int) -> None:
    wanted = choices(count)
    habits, edges = MeshHabits(), edges_of(wanted)
    for number, name in enumerate(NAMES[:count]):
        own = 3 if number < 4 else habits.validators
        assert habits.neighbours <= len(wanted[name]) <= habits.neighbours + own
        guests = sum(name in others for others in wanted.values()) - len(wanted[name])
        assert guests < habits.room
    assert is_connected(wanted, edges)
    assert len(edges) < 12 * count


@pytest.mark.parametrize("count", [60, 128, 512])
def test_without_its_liars_it_still_holds_together(count: int) -> None:
    """Whichever third of the nodes takes part and passes on nothing."""
    wanted = choices(count)
    edges = edges_of(wanted)
    for seed in range(30):
        dice = random.Random(seed)
        honest = set(wanted) - set(dice.sample(sorted(wanted), (count - 1) // 3))
        assert is_connected(honest, edges)


def test_the_choice_is_the_same_after_a_restart_and_nobody_else_can_compute_it() -> None:
    wanted = choices(128)
    assert wanted == choices(128)
    common = set.intersection(*(others for name, others in wanted.items()))
    assert common == set()
    gate = Gate(NAMES[5], dict.fromkeys(NAMES[:128], "observer").get, Disk(), float, has_home=True)
    by_another_key = Mesh(gate, TABLE, signer(6), FEDERATION)
    assert set(by_another_key.wanted()) != wanted[NAMES[5]]


def test_one_more_member_changes_few_choices() -> None:
    before, after = choices(127), choices(128)
    new = NAMES[127]
    for name, others in before.items():
        assert after[name] - others <= {new, *NAMES[:4]}
    assert 0 < sum(new in others for others in after.values()) < 40


def test_validators_are_connected_with_each_other_and_share_the_observers() -> None:
    wanted = choices(512, validators=16)
    validators = set(NAMES[:16])
    for name in validators:
        assert validators - {name} <= wanted[name]
        assert sum(name in others for others in wanted.values()) < MeshHabits().room + 15
    assert sum(bool(others & validators) for others in wanted.values()) > 400


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_fails_there_are_neighbours_and_bounds(data: st.DataObject) -> None:
    mesh, gate = mesh_of(128, 5)
    names = st.sampled_from(NAMES[:128])
    suspects = data.draw(st.sets(names, max_size=100))
    connected = data.draw(st.sets(names, max_size=30)) - {NAMES[5]}
    full = data.draw(st.sets(names, max_size=30)) & connected
    for name in sorted(connected):
        gate.links[name] = Link(address(1), outbound=True, heard_ms=0, up_ms=0)
    for name in sorted(full):
        mesh.on_spare([], name, gate.links[name], is_full=True)
        gate.links.pop(name)
    mesh.is_suspect = suspects.__contains__
    wanted = mesh.wanted()
    mesh.check_invariants()
    assert len(wanted) == len(set(wanted))
    assert NAMES[5] not in wanted
    assert full.isdisjoint(wanted)
    habits = MeshHabits()
    assert len(wanted) <= 3 * (habits.neighbours + habits.validators)
    hopeful = set(NAMES[:128]) - suspects - full - {NAMES[5]}
    assert len(hopeful.intersection(wanted)) >= min(habits.neighbours - 10, len(hopeful))
    assert set(wanted) <= set(mesh.watched()) <= set(mesh.members())


def test_a_town_keeps_few_connections_and_everybody_knows_everybody() -> None:
    town = town_of(20, 4, FEW)
    assert max(degrees(town).values()) <= 3 + 3 + FEW.room
    assert sum(degrees(town).values()) < 20 * 10
    assert is_connected(town.residents, town.lines)
    for one in town.residents.values():
        assert {row.status for row in one.core.table()} == {Liveness.ALIVE}
        assert len(one.core.table()) == 19


def test_a_member_that_ends_is_dead_to_all_and_nobody_else_is_ever_suspect() -> None:
    town = town_of(20, 4, FEW)
    for one in town.residents.values():
        one.notices.clear()
    town.kill(13)
    town.run(40_000)
    others = [one for one in town.residents.values() if one.up]
    assert {one.status(13) for one in others} == {Liveness.DEAD}
    assert {news.node for one in others for news in one.told(StatusChanged)} == {node(13)}
    assert is_connected([one.node for one in others], town.lines)
    assert min(number for name, number in degrees(town).items() if name != 13) >= FEW.neighbours


def test_one_that_comes_back_is_alive_to_all_within_seconds() -> None:
    town = town_of(20, 4, FEW)
    disk = town.residents[node(13)].disk
    town.kill(13)
    town.run(40_000)
    town.settle(13, role="observer", disk=disk, bootstrap=(address(1),), mesh=FEW)
    town.run(5_000)
    assert {one.status(13) for one in town.residents.values() if one.number != 13} == {
        Liveness.ALIVE
    }


def test_a_good_bye_reaches_those_that_are_no_neighbours() -> None:
    town = town_of(20, 4, FEW)
    for one in town.residents.values():
        one.rejected.clear()
    town.tell(13, Leaving())
    town.run(1_000)
    town.kill(13)
    town.run(1_000)
    others = [one for one in town.residents.values() if one.up]
    assert {one.status(13) for one in others} == {Liveness.LEFT}
    assert not any(one.rejected for one in others)


def test_nobody_says_good_bye_for_another() -> None:
    town = town_of(20, 4, FEW)
    line = next(line for line in town.lines if node(13) in line)
    near = town.residents[next(one for one in line if one != node(13))]
    third = next(one for one in town.residents.values() if one.number not in {13, near.number})
    town.say(13, near.number, Leave(third.node, number_of(third), bytes(64)))
    town.run(2 * LATENCY_MS)
    assert near.status(third.number) is Liveness.ALIVE
    assert near.rejected[-1].reason == "it brings a good-bye that its node did not say"


def stranger_to(town: Town, number: int) -> Resident:
    """Somebody who is not connected with this node."""
    return next(
        one
        for one in town.residents.values()
        if one.number != number and frozenset((node(number), one.node)) not in town.lines
    )


def test_who_is_needed_is_dialed_and_let_go_later() -> None:
    town = town_of(20, 4, FEW)
    other = stranger_to(town, 9)
    row = town.residents[node(9)].row(other.number)
    assert (row.connected, row.in_reach) == (False, True)
    assert other.node in {one.node_id for one in town.residents[node(9)].core.candidates("embed")}
    town.tell(9, Needed(other.node))
    town.run(100)
    assert town.residents[node(9)].row(other.number).connected
    before = len(town.residents[node(9)].told(StatusChanged))
    town.run(90_000)
    assert not town.residents[node(9)].row(other.number).connected
    assert len(town.residents[node(9)].told(StatusChanged)) == before
    assert town.residents[node(9)].status(other.number) is Liveness.ALIVE


def test_a_node_keeps_only_so_many_guests_as_it_has_room_for() -> None:
    crowded = MeshHabits(full_up_to=6, neighbours=8, validators=0, room=2)
    town = town_of(20, 4, crowded)
    assert any(said == Spare(full=True) for _, _, said in town.sent)
    assert is_connected(town.residents, town.lines)
    for one in town.residents.values():
        assert one.core._inside is not None
        wanted, links = set(one.core._inside.mesh.wanted()), one.core._gate.links
        staying = [
            peer
            for peer, link in links.open()
            if peer not in wanted and not link.outbound and town.now_ms - link.up_ms > 35_000
        ]
        assert len(staying) <= crowded.room


def test_lies_about_who_is_no_neighbour_are_answered_before_all_dial_it() -> None:
    town = town_of(20, 4, FEW)
    victim = town.residents[node(13)]
    liar = next(
        one
        for one in town.residents.values()
        if one.number > 4 and frozenset((one.node, victim.node)) not in town.lines
    )
    for one in town.residents.values():
        one.notices.clear()
        one.dialed.clear()
    lie = Statements(FEDERATION, signer(liar.number), VERIFIER).suspect(
        victim.node, number_of(victim)
    )
    for line in [line for line in town.lines if liar.node in line]:
        to = next(one for one in line if one != liar.node)
        town.say(liar.number, town.residents[to].number, Rumours((lie,), ()))
    town.run(10_000)
    dialers = [
        one
        for one in town.residents.values()
        if any(where == address(13) for _, where in one.dialed)
    ]
    told = {one for line in town.lines if liar.node in line for one in line}
    assert {one.node for one in dialers} <= told
    assert not any(
        news.node == victim.node
        for one in town.residents.values()
        for news in one.told(StatusChanged)
    )
