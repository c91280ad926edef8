"""What one node passes on, how often and to whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from gossip.effects import Broadcast
from gossip.identity import NodeId
from gossip.membership.lots import Lots
from gossip.membership.messages import Rumours
from gossip.membership.pace import FANOUT, Pace
from gossip.membership.rumour_mill import TURNS, RumourMill
from gossip.membership.suspicions import Life, Suspicion

ACCUSER, ACCUSED = NodeId(b"a" * 32), NodeId(b"z" * 32)
WORD = Suspicion(ACCUSER, ACCUSED, 7, bytes(64))
NODES = [NodeId(number.to_bytes(32, "big")) for number in range(1, 24)]
TURN_MS = Pace().gossip_ms
FOLLOWERS = 4


def mill(node: NodeId = ACCUSER) -> RumourMill:
    return RumourMill(node, Pace(), Lots(lambda: 0.5))


def ground(one: RumourMill, now_ms: int, friends: Sequence[NodeId]) -> list[Broadcast]:
    return one.grind(now_ms, friends, lambda _: (), FOLLOWERS)


def listeners(one: RumourMill, friends: Sequence[NodeId], turns: int = TURNS) -> list[NodeId]:
    """Who hears something in so many turns, as often as it does."""
    told = [said for turn in range(turns) for said in ground(one, turn * TURN_MS, friends)]
    return [peer for said in told for peer in said.to]


@pytest.mark.parametrize("word", [WORD, Life(ACCUSED, 7, 0, bytes(64))])
def test_it_is_passed_on_to_three_others_and_then_to_its_followers(word: Suspicion | Life) -> None:
    one = mill()
    one.tell(0, word, set())
    told = listeners(one, NODES, 10)
    assert len(told) == len(set(told)) == FANOUT + FOLLOWERS


def test_nobody_hears_what_it_has_told() -> None:
    one, friends = mill(), NODES[:8]
    one.tell(0, WORD, set(friends[:4]))
    assert sorted(listeners(one, friends, 10)) == friends[4:]


def test_who_tells_it_meanwhile_need_not_hear_it_either() -> None:
    one, life = mill(), Life(ACCUSED, 7, 0, bytes(64))
    one.tell(0, life, set(NODES[:3]))
    for peer in NODES[3:7]:
        one.echo(peer, life)
    one.echo(NODES[7], Life(ACCUSED, 6, 0, bytes(64)))
    assert listeners(one, NODES[:8], 10) == [NODES[7]]


def test_what_all_know_does_not_keep_the_rest_from_being_told() -> None:
    one = mill()
    other = Suspicion(ACCUSER, NodeId(b"y" * 32), 7, bytes(64))
    one.tell(0, WORD, set(NODES))
    one.tell(0, other, set())
    (said,) = ground(one, 0, NODES)
    assert said.message == Rumours((other,), ())


@pytest.mark.parametrize("incarnation", range(40))
def test_the_second_time_each_member_is_told_by_as_many(incarnation: int) -> None:
    """So nobody is left out, whoever is accused."""
    word = Suspicion(ACCUSER, ACCUSED, incarnation, bytes(64))
    heard: Counter[NodeId] = Counter()
    for node in NODES:
        one, knowing = mill(node), set[NodeId]()
        one.tell(0, word, knowing)
        friends = [peer for peer in NODES if peer != node]
        ground(one, 0, friends)
        # As if the lots had fallen on nobody.
        knowing.clear()
        (second,) = ground(one, TURN_MS, friends)
        heard.update(second.to)
    assert set(heard.values()) == {FOLLOWERS}
    assert set(heard) == set(NODES)


def test_steps_are_of_another_width_for_each_accused() -> None:
    orders = set()
    for incarnation in range(20):
        one = mill(NODES[0])
        one.tell(0, Suspicion(ACCUSER, ACCUSED, incarnation, bytes(64)), set())
        ground(one, 0, NODES[1:])
        (second,) = ground(one, TURN_MS, NODES[1:])
        orders.add(second.to)
    assert len(orders) > 10


@pytest.mark.parametrize("turns_before", [0, 1])
def test_where_nobody_is_left_to_listen_it_is_dropped(turns_before: int) -> None:
    one = mill()
    one.tell(0, WORD, set())
    listeners(one, NODES, turns_before)
    assert ground(one, TURN_MS, []) == []
    one.check_invariants()
    assert ground(one, 2 * TURN_MS, NODES) == []
