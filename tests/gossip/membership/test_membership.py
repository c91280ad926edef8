"""Members find each other, know each other, and notice who is gone."""

from __future__ import annotations

import pytest

from gossip.effects import Cause
from gossip.identity import NodeId
from gossip.membership import Timing
from gossip.membership.events import (
    AddressesChanged,
    AdmissionChanged,
    CapabilitiesChanged,
    Leaving,
    PeerUp,
    Received,
    Started,
)
from gossip.membership.links import CHECKS_A_BEAT
from gossip.membership.mesh import MeshHabits
from gossip.membership.messages import (
    MAX_RECORDS,
    FetchRecords,
    Hello,
    Known,
    Ping,
    Pong,
    Records,
    Welcome,
)
from gossip.membership.notices import Liveness, StatusChanged
from gossip.membership.peer_table import MAX_PEERS
from gossip.membership.records import Capability, RecordError, SignedRecord
from tests.gossip.membership.town import (
    EMBED,
    FEDERATION,
    LATENCY_MS,
    START_MS,
    Disk,
    Resident,
    Town,
    address,
    node,
    signed_record,
    signer,
)


def federation(count: int) -> Town:
    """So many validators, all of them told to join by the first."""
    town = Town()
    for number in range(1, count + 1):
        town.settle(number, bootstrap=(address(1),) if number > 1 else ())
    return town


def resident(town: Town, number: int) -> Resident:
    return town.residents[node(number)]


def with_a_liar(town: Town, victim: int, liar: int = 50) -> None:
    """An admitted node that says what it likes to one that runs our core."""
    town.ledger[node(liar)] = "validator"
    town.meet(liar, victim)
    town.run(0)
    town.say(liar, victim, Hello(FEDERATION, signed_record(liar), None, 1))
    town.run(LATENCY_MS)


def test_a_joining_node_learns_the_whole_table_at_once() -> None:
    town = federation(6)
    town.run(5_000)
    newcomer = town.settle(7, bootstrap=(address(1),))
    town.run(20 * LATENCY_MS)
    assert newcomer.knows() == {f"node {number}" for number in range(1, 7)}


def test_everybody_is_soon_connected_with_everybody_and_nobody_is_refused() -> None:
    town = federation(8)
    town.run(5_000)
    for one in town.residents.values():
        assert len(one.core.table()) == 7
        assert all(row.connected and row.status is Liveness.ALIVE for row in one.core.table())
        assert one.rejected == []


def test_a_change_reaches_everybody_within_a_round_trip() -> None:
    town = federation(4)
    town.run(5_000)
    rank = Capability("inference", "rank", bytes(32), 1, 1)
    town.tell(2, CapabilitiesChanged((EMBED, rank), 700))
    town.tell(3, AddressesChanged((address(33),)))
    town.run(100)
    row = resident(town, 4).row(2)
    assert (row.capabilities, row.load) == ((EMBED, rank), 700)
    assert address(33) in resident(town, 4).row(3).addresses


def test_a_change_reaches_who_is_not_connected_with_its_node() -> None:
    town = federation(3)
    town.run(5_000)
    town.cut_off(2, 3)
    town.tell(2, CapabilitiesChanged((), 900))
    town.run(200)
    assert resident(town, 3).row(2).load == 900


def test_what_got_lost_is_fetched_within_a_few_pulls() -> None:
    town = federation(3)
    town.run(5_000)
    town.cut_off(2, 3)
    town.residents[node(1)].silent = True
    town.tell(2, CapabilitiesChanged((), 900))
    town.run(500)
    town.residents[node(1)].silent = False
    assert resident(town, 3).row(2).load == 0
    town.run(25_000)
    assert resident(town, 3).row(2).load == 900


def test_a_change_that_breaks_a_bound_is_our_own_mistake() -> None:
    town = federation(1)
    with pytest.raises(RecordError):
        town.tell(1, CapabilitiesChanged((EMBED,) * 33, 0))
    town.tell(1, CapabilitiesChanged((EMBED,), 5))


@pytest.mark.parametrize(("full_up_to", "seq"), [(2, 4), (50, 1)])
def test_records_are_signed_anew_every_ten_minutes_where_not_all_are_connected(
    full_up_to: int, seq: int
) -> None:
    town = Town()
    for number in (1, 2, 3):
        habits = MeshHabits.of(full_up_to, 2)
        town.settle(number, bootstrap=(address(1),) if number > 1 else (), mesh=habits)
    town.run(1_850_000)
    own = resident(town, 1).core.own_record
    assert own is not None
    assert own.record.seq == seq
    assert resident(town, 2).core.record_of(node(1)) == own.record
    assert resident(town, 2).row(1).capabilities == (EMBED,)


def test_round_trip_time_and_clock_offset_are_measured() -> None:
    town = federation(2)
    town.run(5_000)
    row = resident(town, 1).row(2)
    assert (row.rtt_ms, row.clock_offset_ms) == (2 * LATENCY_MS, 0)
    assert row.last_seen_ms is not None
    assert town.now_ms - row.last_seen_ms <= 1_000


def test_what_a_silent_node_can_do_counts_for_two_minutes() -> None:
    town = federation(3)
    town.run(60_000)
    assert resident(town, 1).row(2).capabilities == (EMBED,)
    town.kill(2)
    town.run(80_000)
    assert resident(town, 1).row(2).capabilities == (EMBED,)
    town.run(60_000)
    assert resident(town, 1).row(2).capabilities == ()
    town.settle(2, disk=resident(town, 2).disk)
    town.run(5_000)
    assert resident(town, 1).row(2).capabilities == (EMBED,)


def test_what_a_node_can_do_does_not_run_out_within_a_round_of_probes() -> None:
    town = Town()
    hasty = Timing(capability_ms=1_000)
    for number in range(1, 7):
        joins = (address(1),) if number > 1 else ()
        town.settle(number, bootstrap=joins, timing=hasty)
    town.run(20_000)
    for _ in range(100):
        town.run(200)
        rows = [row for one in town.residents.values() for row in one.core.table()]
        assert all(row.capabilities == (EMBED,) for row in rows)


def test_a_silent_node_is_suspect_then_dead_and_alive_again_at_its_first_word() -> None:
    town = federation(3)
    town.run(5_000)
    town.kill(3)
    watcher = resident(town, 1)
    seen: dict[Liveness, int] = {}
    for elapsed_ms in range(0, 8_000, 100):
        seen.setdefault(watcher.status(3), elapsed_ms)
        town.run(100)
    assert 500 <= seen[Liveness.SUSPECT] <= 1_600
    assert 4_000 <= seen[Liveness.DEAD] <= 6_100
    assert watcher.status(2) is Liveness.ALIVE
    town.settle(3, disk=resident(town, 3).disk)
    town.run(2_100)
    assert watcher.status(3) is Liveness.ALIVE
    told = [(one.before, one.after) for one in watcher.told(StatusChanged) if one.node == node(3)]
    assert told[-3:] == [
        (Liveness.ALIVE, Liveness.SUSPECT),
        (Liveness.SUSPECT, Liveness.DEAD),
        (Liveness.DEAD, Liveness.ALIVE),
    ]


def test_a_frozen_node_is_dropped_and_comes_back_when_it_thaws() -> None:
    town = federation(2)
    town.run(5_000)
    frozen, watcher = resident(town, 2), resident(town, 1)
    frozen.silent = True
    town.run(6_100)
    assert watcher.status(2) is Liveness.DEAD
    assert watcher.row(2).connected
    town.run(30_000)
    frozen.silent = False
    town.run(40_000)
    assert watcher.status(2) is Liveness.ALIVE
    assert frozen.status(1) is Liveness.ALIVE


def test_who_has_slept_does_not_take_the_others_for_dead() -> None:
    town = federation(3)
    town.run(5_000)
    sleeper = resident(town, 1)
    town.doze(1, 60_000)
    town.run(3_000)
    told = [one for one in sleeper.told(StatusChanged) if one.before is Liveness.ALIVE]
    assert told == []


def test_a_node_that_says_good_bye_has_left_and_is_not_dialed() -> None:
    town = federation(2)
    town.run(5_000)
    town.tell(2, Leaving())
    town.run(LATENCY_MS)
    town.kill(2)
    watcher = resident(town, 1)
    watcher.dialed.clear()
    town.run(20_000)
    assert watcher.status(2) is Liveness.LEFT
    assert watcher.dialed == []
    town.settle(2, disk=resident(town, 2).disk)
    town.run(3_000)
    assert watcher.status(2) is Liveness.ALIVE


def test_a_restart_goes_on_above_the_last_number_and_keeps_the_table() -> None:
    town = federation(3)
    town.run(40_000)
    before = resident(town, 2).core.own_record
    town.kill(2)
    town.run(1_000)
    again = town.settle(2, disk=resident(town, 2).disk)
    assert again.knows() == {"node 1", "node 3"}
    assert {row.status for row in again.core.table()} <= {Liveness.DEAD, Liveness.SUSPECT}
    row = again.row(1)
    assert row.last_seen_ms is not None
    assert row.rtt_ms == 2 * LATENCY_MS
    assert [where for where, _ in row.found] == [address(1)]
    assert 0 < row.found[0][1] <= row.last_seen_ms
    assert before is not None
    assert again.core.own_record is not None
    assert again.core.own_record.record.seq == before.record.seq + 1
    town.run(3_000)
    assert all(row.connected for row in again.core.table())


def test_who_has_restarted_believes_what_others_offer_once_they_have_said_hello() -> None:
    town = federation(3)
    town.run(10_000)
    town.kill(1)
    town.kill(3)
    town.run(1_000)
    again = town.settle(1, disk=resident(town, 1).disk)
    assert (again.row(2).capabilities, again.row(3).capabilities) == ((), ())
    town.run(3_000)
    assert again.row(2).capabilities == (EMBED,), "its record is the one that was on disk"
    assert again.row(3).capabilities == (), "who is away has not said it again"


def test_no_record_is_sent_before_its_number_is_on_disk() -> None:
    town = federation(3)
    town.tell(2, CapabilitiesChanged((), 1))
    town.run(70_000)
    assert town.seqs_ahead_of_disk == []


@pytest.mark.parametrize("changes", [0, 3])
def test_a_node_that_lost_its_disk_outbids_its_own_past(changes: int) -> None:
    town = federation(3)
    town.run(1_000)
    for load in range(changes):
        town.tell(2, CapabilitiesChanged((EMBED,), load=1 + load))
        town.run(1_000)
    town.kill(2)
    town.run(6_000)
    again = town.settle(2, disk=Disk(), bootstrap=(address(1),))
    town.run(5_000)
    assert again.core.own_record is not None
    assert again.core.own_record.record.seq > 1 + changes
    for other in (1, 3):
        assert resident(town, other).core.record_of(node(2)) == again.core.own_record.record
        assert resident(town, other).rejected == []


def test_forged_records_are_refused_with_a_reason() -> None:
    town = federation(2)
    town.run(5_000)
    with_a_liar(town, 1)
    honest = signed_record(2, 1_000, load=1000)
    forged = SignedRecord(honest.record, signer(50).sign(honest.record.signing_bytes()))
    town.say(50, 1, Records((forged,)))
    town.run(LATENCY_MS)
    assert resident(town, 1).row(2).load == 0
    assert resident(town, 1).rejected[-1].peer == node(50)
    assert resident(town, 1).rejected[-1].reason == "the record is not signed by its node"


def test_old_records_do_not_bring_back_the_past() -> None:
    town = federation(1)
    with_a_liar(town, 1)
    town.say(50, 1, Records((signed_record(50, 9, load=9),)))
    town.say(50, 1, Records((signed_record(50, 8, load=8),)))
    town.run(LATENCY_MS)
    assert resident(town, 1).row(50).load == 9
    assert "replaced" in resident(town, 1).rejected[-1].reason


def test_two_records_with_one_number_are_refused() -> None:
    town = federation(1)
    with_a_liar(town, 1)
    town.say(50, 1, Records((signed_record(50, 9, load=9),)))
    town.say(50, 1, Records((signed_record(50, 9, load=8),)))
    town.run(LATENCY_MS)
    assert resident(town, 1).row(50).load == 9
    assert "one number" in resident(town, 1).rejected[-1].reason


def test_nobody_says_hello_in_the_name_of_another() -> None:
    town = federation(2)
    town.run(5_000)
    town.ledger[node(50)] = "validator"
    town.meet(50, 1)
    town.say(50, 1, Hello(FEDERATION, signed_record(2, 99), None, 1))
    town.say(50, 1, Hello(FEDERATION, None, None, 1))
    town.run(LATENCY_MS)
    assert [one.reason for one in resident(town, 1).rejected] == [
        "it introduces itself with the record of another node",
        "it introduces itself without a record",
    ]


def test_records_of_nodes_that_nobody_admitted_are_not_kept() -> None:
    town = federation(2)
    town.run(5_000)
    with_a_liar(town, 1)
    strangers = tuple(signed_record(number) for number in range(100, 100 + MAX_RECORDS))
    for _ in range(20):
        town.say(50, 1, Records(strangers))
    town.run(1_000)
    assert resident(town, 1).knows() == {"node 2", "node 50"}


def test_a_flood_of_good_records_costs_a_bounded_number_of_checks_and_of_messages() -> None:
    town = federation(3)
    town.run(5_000)
    with_a_liar(town, 1)
    town.run(1_000)
    town.sent.clear()
    for first in range(2, 2 + 8 * 256, 256):
        flood = tuple(
            signed_record(50, seq, load=seq % 1000) for seq in range(first, first + MAX_RECORDS)
        )
        town.say(50, 1, Records(flood))
    town.run(900)
    record = resident(town, 1).core.record_of(node(50))
    assert record is not None
    assert record.seq <= 2 + CHECKS_A_BEAT
    passed_on = [
        message
        for sender, _, message in town.sent
        if sender == node(1) and isinstance(message, Records)
    ]
    assert len(passed_on) <= 10


def test_a_joining_node_that_is_lied_to_keeps_a_bounded_table_and_forgets_the_lies() -> None:
    town = Town()
    word: dict[NodeId, str] = {}
    newcomer = town.settle(1, role=None, ledger=word, bootstrap=(address(50),))
    liar = town.settle(50)
    town.run(100)
    assert newcomer.row(50).connected
    lies = tuple(signed_record(number) for number in range(1000, 1000 + MAX_PEERS + 200))
    for start in range(0, len(lies), 200):
        town.say(50, 1, Records(lies[start : start + 200]))
        town.run(200)
    assert len(newcomer.core.table()) == MAX_PEERS
    word[node(1)] = word[node(50)] = "observer"
    town.tell(1, AdmissionChanged((node(1), node(50))))
    assert newcomer.knows() == {"node 50"}
    town.run(80_000)
    assert len([key for key in newcomer.disk.pairs if key.startswith(b"peer/")]) == 1
    assert liar.rejected == []


def test_fetching_too_often_is_refused() -> None:
    town = federation(1)
    with_a_liar(town, 1)
    for _ in range(10):
        town.say(50, 1, FetchRecords(()))
    town.run(LATENCY_MS)
    answers = [m for _, to, m in town.sent if to == node(50) and isinstance(m, Records)]
    assert len(answers) <= 2
    refused = resident(town, 1).rejected[-1]
    assert (refused.reason, refused.cause) == ("it fetches too often", Cause.TOO_OFTEN)


def test_a_fetch_is_answered_with_what_is_lacking_only() -> None:
    town = federation(3)
    town.run(5_000)
    with_a_liar(town, 1)
    town.run(1_000)
    known = tuple(Known(node(number), 2**62) for number in (1, 2, 50))
    town.sent.clear()
    town.say(50, 1, FetchRecords(known))
    town.run(LATENCY_MS)
    (answer,) = [m for _, to, m in town.sent if to == node(50) and isinstance(m, Records)]
    assert [signed.record.name for signed in answer.records] == ["node 3"]


def test_a_large_table_is_sent_in_several_messages() -> None:
    town = federation(1)
    with_a_liar(town, 1)
    for number in range(1000, 1600):
        town.ledger[node(number)] = "observer"
    for start in (1000, 1200, 1400):
        town.say(50, 1, Records(tuple(map(signed_record, range(start, start + 200)))))
    town.run(1_000)
    newcomer = town.settle(2, bootstrap=(address(1),))
    town.run(1_000)
    assert len(newcomer.core.table()) == 602


def test_who_gets_work_is_alive_connected_admitted_and_best_first() -> None:
    town = federation(6)
    town.ledger[node(6)] = "observer"
    town.run(5_000)
    full = Capability("inference", "embed", None, 0, 0)
    dear = Capability("inference", "embed", None, 50, 2)
    town.tell(2, CapabilitiesChanged((EMBED,), 500))
    town.tell(3, CapabilitiesChanged((dear,), 100))
    town.tell(4, CapabilitiesChanged((full,), 0))
    town.tell(5, CapabilitiesChanged((), 0))
    town.tell(6, CapabilitiesChanged((EMBED,), 100))
    town.run(200)
    asker = resident(town, 1)
    assert [entry.name for entry in asker.core.candidates("embed")] == [
        "node 6",
        "node 3",
        "node 2",
        "node 4",
    ]
    assert asker.core.candidates("rank") == ()
    town.kill(6)
    assert asker.core.candidates("embed")[0].name == "node 3"
    del town.ledger[node(3)]
    town.tell(1, AdmissionChanged((node(3),)))
    assert asker.core.candidates("embed")[0].name == "node 2"


def test_pongs_that_answer_nothing_and_pings_from_anybody_do_no_harm() -> None:
    town = federation(1)
    with_a_liar(town, 1)
    town.say(50, 1, Pong(12345, 2**63 - 1, 2**63 - 1))
    town.say(50, 1, Ping(7))
    town.run(LATENCY_MS)
    assert Pong(7, town.now_ms, 0) in [message for _, _, message in town.sent]
    assert resident(town, 1).row(50).rtt_ms is None


def test_a_core_that_takes_the_place_of_another_is_greeted_again() -> None:
    town = federation(2)
    town.run(5_000)
    town.sent.clear()
    town.tell(2, Started())
    town.tell(2, PeerUp(node(1), address(1), outbound=True))
    town.run(100)
    assert any(to == node(2) and isinstance(message, Welcome) for _, to, message in town.sent)
    assert resident(town, 2).row(1).connected


def test_messages_after_the_end_of_a_connection_are_nothing() -> None:
    town = federation(1)
    assert town.tell(1, Received(node(9), Ping(1))) == []
    assert town.now_ms == START_MS
