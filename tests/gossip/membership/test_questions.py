"""Who asks for newer records names nobody as long as both sides know of the same nodes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossip.codec import encode
from gossip.effects import Cause
from gossip.membership.events import CapabilitiesChanged
from gossip.membership.messages import (
    FetchRecords,
    FetchSince,
    Hello,
    NamesDiffer,
    Records,
    Standing,
    Welcome,
    names_of,
)
from tests.gossip.membership.town import (
    EMBED,
    FEDERATION,
    LATENCY_MS,
    Resident,
    Town,
    address,
    node,
    signed_record,
)


def town_with_a_speaker(count: int) -> Town:
    """So many nodes that run the core, all known to each other, and node 50, who says what the test wants."""
    town = Town()
    for number in range(1, count + 1):
        town.settle(number, bootstrap=(address(1),) if number > 1 else ())
    town.run(5_000)
    town.ledger[node(50)] = "validator"
    town.meet(50, 1)
    town.run(0)
    town.say(50, 1, Hello(FEDERATION, signed_record(50), None, 1))
    (hello,) = said_to(town, 50, Hello)
    assert isinstance(hello, Hello)
    welcome = Welcome(FEDERATION, None, signed_record(50), Standing.MEMBER, "", hello.nonce)
    town.say(50, 1, welcome)
    town.run(3_000)
    town.sent.clear()
    return town


def seqs_of(one: Resident, numbers: list[int]) -> dict[int, int]:
    seqs = {50: 1}
    for number in numbers:
        record = one.core.record_of(node(number)) or one.core.own_record.record  # type: ignore[union-attr]
        seqs[number] = record.seq
    return seqs


def question(seqs: dict[int, int]) -> FetchSince:
    numbers = sorted(seqs, key=node)
    return FetchSince(names_of(map(node, numbers)), tuple(seqs[number] for number in numbers))


def said_to(town: Town, number: int, kind: type) -> list[object]:
    return [m for _, to, m in town.sent if to == node(number) and isinstance(m, kind)]


def test_a_short_question_is_answered_with_what_is_lacking_only() -> None:
    town = town_with_a_speaker(3)
    seqs = seqs_of(town.residents[node(1)], [1, 2, 3])
    town.say(50, 1, question(seqs | {2: seqs[2] - 1, 1: 2**62}))
    town.run(LATENCY_MS)
    (answer,) = said_to(town, 50, Records)
    assert isinstance(answer, Records)
    assert [signed.record.name for signed in answer.records] == ["node 2"]


def test_who_lacks_nothing_gets_no_answer() -> None:
    town = town_with_a_speaker(3)
    town.say(50, 1, question(seqs_of(town.residents[node(1)], [1, 2, 3])))
    town.run(LATENCY_MS)
    assert not said_to(town, 50, Records)
    assert not said_to(town, 50, NamesDiffer)


def test_who_knows_of_others_is_asked_in_full() -> None:
    town = town_with_a_speaker(3)
    seqs = seqs_of(town.residents[node(1)], [1, 2])
    town.say(50, 1, question(seqs))
    town.run(LATENCY_MS)
    assert said_to(town, 50, NamesDiffer) == [NamesDiffer()]
    assert not said_to(town, 50, Records)


def test_numbers_that_are_fewer_than_the_names_say_are_not_believed() -> None:
    town = town_with_a_speaker(2)
    whole = question(seqs_of(town.residents[node(1)], [1, 2]))
    town.say(50, 1, FetchSince(whole.names, whole.seqs[:-1]))
    town.run(LATENCY_MS)
    assert said_to(town, 50, NamesDiffer) == [NamesDiffer()]


def test_the_full_question_follows_once_and_nobody_can_draw_it_out_again() -> None:
    town = town_with_a_speaker(1)
    for _ in range(5):
        town.say(50, 1, NamesDiffer())
    town.run(LATENCY_MS)
    assert len(said_to(town, 50, FetchRecords)) == 1
    refused = {one.reason for one in town.residents[node(1)].rejected}
    assert refused == {"it wants a question in full that was not asked"}


def test_short_questions_too_often_are_refused() -> None:
    town = town_with_a_speaker(2)
    for _ in range(20):
        town.say(50, 1, FetchSince(bytes(8), ()))
    town.run(LATENCY_MS)
    assert len(said_to(town, 50, NamesDiffer)) <= 8
    refused = town.residents[node(1)].rejected[-1]
    assert (refused.reason, refused.cause) == ("it fetches too often", Cause.TOO_OFTEN)


def test_two_that_know_of_different_nodes_learn_all_the_same() -> None:
    """The record of node 9 reaches node 1 alone; the next question of node 2 brings it there."""
    town = Town()
    for number in (1, 2):
        town.settle(number, bootstrap=(address(1),) if number > 1 else ())
    town.run(5_000)
    town.ledger[node(9)] = "observer"
    exchange = town.residents[node(1)].core._home.exchange  # type: ignore[union-attr]
    exchange.table.put(town.now_ms, signed_record(9))
    town.run(40_000)
    assert "node 9" in town.residents[node(2)].knows()
    assert all(one.rejected == [] for one in town.residents.values())


def test_a_question_among_many_is_short() -> None:
    seqs = tuple(range(200, 328))
    assert len(encode(FetchSince(bytes(8), seqs))) < 420
    assert len(encode(FetchSince(bytes(8), (1,) * 1000))) < 1_050


@given(st.sets(st.integers(1, 60), max_size=12), st.sets(st.integers(1, 60), max_size=12))
def test_names_stand_for_exactly_these_nodes(ones: set[int], others: set[int]) -> None:
    def names(numbers: set[int]) -> bytes:
        return names_of(sorted(map(node, numbers)))

    assert (names(ones) == names(others)) == (ones == others)


def test_a_change_is_told_at_once_and_needs_no_question() -> None:
    town = town_with_a_speaker(3)
    town.tell(2, CapabilitiesChanged((EMBED, EMBED), 250))
    town.run(100)
    assert town.residents[node(3)].row(2).load == 250
    assert not said_to(town, 2, FetchSince)
