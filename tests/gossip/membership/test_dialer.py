"""Whom a node dials, and when."""

from __future__ import annotations

from gossip.identity import NodeId
from gossip.membership.dialer import MAX_BOOTSTRAPS, Dialer
from tests.gossip.membership.town import Town, address, node

SMALL, OWN, LARGE = (NodeId(bytes([byte]) * 32) for byte in (1, 5, 9))
HERE = ("/here", "/there")


def dialer(jitter: float = 0.0) -> Dialer:
    return Dialer(OWN, lambda: jitter)


def due(
    one: Dialer, now_ms: int, *known: NodeId, connected: frozenset[NodeId] = frozenset()
) -> list[str]:
    return one.due(
        now_ms,
        known,
        lambda node: tuple(f"{place}/{node[0]}" for place in HERE),
        connected,
        frozenset(known),
    )


def test_the_smaller_id_dials_at_once_and_the_larger_after_two_seconds() -> None:
    one = dialer()
    assert due(one, 0, SMALL, LARGE) == ["/here/9"]
    assert due(one, 1_999, SMALL, LARGE) == []
    assert due(one, 2_000, SMALL, LARGE) == ["/here/1"]


def test_addresses_are_tried_in_turn_then_pauses_double_up_to_thirty_seconds() -> None:
    one, now_ms, waits, tried = dialer(), 0, [], []
    for _ in range(16):
        started_ms = now_ms
        while not (chosen := due(one, now_ms, LARGE)):
            now_ms += 100
        tried += chosen
        waits.append(now_ms - started_ms)
        one.on_failed(now_ms, chosen[0])
    assert tried == ["/here/9", "/there/9"] * 8
    assert waits[::2] == [0, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
    assert waits[1::2] == [0] * 8


def test_jitter_shortens_a_pause_by_up_to_a_quarter() -> None:
    one = dialer(jitter=1.0)
    for _ in HERE:
        one.on_failed(0, due(one, 0, LARGE)[0])
    assert due(one, 749, LARGE) == []
    assert due(one, 750, LARGE) == ["/here/9"]


def test_who_is_connected_or_being_dialed_is_not_dialed() -> None:
    one = dialer()
    assert due(one, 0, LARGE, connected=frozenset({LARGE})) == []
    assert due(one, 0, LARGE) == ["/here/9"]
    assert due(one, 30_000, LARGE) == []


def test_a_dial_that_nobody_answers_for_is_given_up() -> None:
    one = dialer()
    due(one, 0, LARGE)
    assert due(one, 60_000, LARGE) == ["/there/9"]


def test_after_a_lost_connection_the_pause_starts_anew() -> None:
    one = dialer()
    for _ in HERE:
        one.on_failed(0, due(one, 0, LARGE)[0])
    one.on_dialed(due(one, 1_000, LARGE)[0], LARGE)
    one.on_good(LARGE)
    one.on_down(50_000, LARGE)
    assert due(one, 50_000, LARGE) == ["/here/9"]


def test_a_member_that_was_here_lately_is_asked_for_every_second() -> None:
    one = dialer()
    due(one, 0, LARGE)
    one.on_good(LARGE)
    one.on_down(0, LARGE)
    assert pauses(one, 0, rounds=6) == [1_000] * 6


def test_who_came_by_itself_before_it_was_a_member_is_asked_for_as_soon() -> None:
    """An invited node is greeted before the ledger admits it, and nobody has dialed it yet."""
    one = dialer()
    one.on_good(LARGE)
    due(one, 0, LARGE, connected=frozenset({LARGE}))
    one.on_down(0, LARGE)
    due(one, 0, LARGE)
    assert pauses(one, 0, rounds=6) == [1_000] * 6


def test_one_that_is_gone_for_long_is_asked_for_rarely() -> None:
    one = dialer()
    due(one, 0, LARGE)
    one.on_good(LARGE)
    one.on_down(0, LARGE)
    assert pauses(one, 600_000, rounds=7)[-2:] == [30_000, 30_000]


def pauses(one: Dialer, now_ms: int, *, rounds: int) -> list[int]:
    """How long it waits after each round in vain through both addresses."""
    one.on_failed(now_ms, "/here/9")
    waited: list[int] = []
    for _ in range(rounds):
        one.on_failed(now_ms, due(one, now_ms, LARGE)[0])
        began_ms = now_ms
        while not (chosen := due(one, now_ms, LARGE)):
            now_ms += 100
        waited.append(now_ms - began_ms)
        one.on_failed(now_ms, chosen[0])
    return waited


def test_a_peer_that_hangs_up_at_once_is_not_dialed_in_a_loop() -> None:
    one = dialer()
    dials = 0
    for now_ms in range(0, 10_000, 10):
        for chosen in due(one, now_ms, LARGE):
            dials += 1
            one.on_dialed(chosen, LARGE)
            one.on_good(LARGE)
            one.on_down(now_ms, LARGE)
    assert dials == 10


def test_an_address_to_join_by_is_tried_until_its_peer_is_known() -> None:
    one = dialer()
    one.add_bootstrap(0, "/door", None)
    assert due(one, 0) == ["/door"]
    one.on_failed(0, "/door")
    assert due(one, 999) == []
    assert due(one, 1_000) == ["/door"]
    one.on_dialed("/door", LARGE)
    assert one.is_host(LARGE)
    assert due(one, 60_000, connected=frozenset({LARGE})) == []
    assert due(one, 60_000, LARGE) == ["/here/9"]
    assert due(one, 60_000) == ["/door"]


def test_a_useless_peer_is_dialed_ever_more_seldom() -> None:
    one, dials = dialer(), 0
    one.add_bootstrap(0, "/door", None)
    for now_ms in range(0, 120_000, 100):
        for chosen in due(one, now_ms):
            dials += 1
            one.on_dialed(chosen, LARGE)
            one.on_bad(now_ms, LARGE)
    assert dials == 8


def test_everything_is_bounded() -> None:
    one = dialer()
    for number in range(100):
        one.add_bootstrap(0, f"/door/{number}", None)
    one.check_invariants()
    assert len(due(one, 0)) == 16
    for number in range(100):
        one.on_failed(0, f"/door/{number}")
    one.check_invariants()
    assert MAX_BOOTSTRAPS == 32


def test_two_members_that_know_each_other_do_not_dial_each_other_twice() -> None:
    town = Town()
    for number in range(1, 7):
        town.settle(number, bootstrap=(address(1),) if number > 1 else ())
    town.run(10_000)
    for one in town.residents.values():
        for _, place in one.dialed:
            other = next(n for n in range(1, 7) if address(n) == place)
            assert other == 1 or one.node < node(other)


def test_a_member_whose_connection_froze_is_asked_for_every_second() -> None:
    """It is dropped after a while of silence, which is no reason to think little of it."""
    town = Town()
    for number in (1, 2):
        town.settle(number)
    town.meet(1, 2)
    town.run(3_000)
    line = frozenset((node(1), node(2)))
    town.broken.add(line)
    for number in (1, 2):
        town.residents[node(number)].silent = True
    town.run(20_000)
    assert line not in town.lines, "both have dropped it"
    began_ms = town.now_ms + 20_000
    town.run(40_000)
    for number in (1, 2):
        late = [at_ms for at_ms, _ in town.residents[node(number)].dialed if at_ms > began_ms]
        assert len(late) >= 15
