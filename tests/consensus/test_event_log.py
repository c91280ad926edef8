from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from consensus.ledger.event_log import (
    KINDS,
    BlockCreated,
    BlockFinalized,
    Cursor,
    EventLog,
    Kind,
    StoredBatch,
    TransactionExecuted,
    TransactionSubmitted,
)
from consensus.ledger.events import AccountChanged, TaskChanged
from consensus.ledger.outcomes import Code
from consensus.operations.transactions import Transfer
from consensus.replay import replay
from gossip.codec import DecodeError, decode, encode
from tests.consensus.chains import StoredTown
from tests.consensus.world import HashSigner, HashVerifier

BOB = HashSigner("bob")


def small_town() -> StoredTown:
    town = StoredTown((1, 1))
    town.block(town.signed(town.nodes[0], Transfer(BOB.node_id, 7)))
    town.work()
    return town


def test_a_block_tells_its_story_in_order() -> None:
    town = small_town()
    events = EventLog(town.database).block(1)
    assert events is not None
    assert [one.kind for one in events] == [
        "BlockCreated", "TransactionSubmitted", "TransactionExecuted", "BlockValidated",
        "AccountChanged", "AccountChanged", "ConsensusReached", "BlockFinalized",
    ]  # fmt: skip
    assert [one.place for one in events] == [Cursor(1, index) for index in range(8)]
    first, last = events[0].event, events[-1].event
    assert isinstance(first, BlockCreated)
    assert first.transactions == 1
    assert isinstance(last, BlockFinalized)
    assert last.block == town.executed[0].digest


def test_every_event_names_its_transaction_and_its_cause() -> None:
    town = small_town()
    transaction = town.executed[0].transactions[0]
    events = EventLog(town.database).block(1)
    assert events is not None
    submitted, executed = events[1], events[2]
    assert submitted.correlation == executed.correlation == transaction.id
    assert submitted.causation == events[0].place
    assert executed.causation == submitted.place
    assert events[0].causation is None
    assert events[3].correlation == town.executed[0].digest


def test_what_an_operation_did_belongs_to_its_transaction() -> None:
    town = small_town()
    log = EventLog(town.database)
    for block in town.executed[1:]:
        changed = [
            one for one in log.block(block.height) or () if isinstance(one.event, TaskChanged)
        ]
        assert [one.correlation for one in changed] == [block.transactions[0].id]
        assert isinstance(changed[0].event, TaskChanged)
        assert changed[0].event.transaction == changed[0].correlation


def test_a_stale_version_of_an_account_is_told_with_both_versions() -> None:
    town = StoredTown()
    founder = town.nodes[0]
    town.block(town.signed(founder, Transfer(BOB.node_id, 1), nonce=5))
    events = EventLog(town.database).block(1) or ()
    executed = next(one.event for one in events if isinstance(one.event, TransactionExecuted))
    submitted = next(one.event for one in events if isinstance(one.event, TransactionSubmitted))
    assert (executed.code, executed.figures) == (Code.BAD_NONCE, (0, 5))
    assert submitted.expected_nonce == 5
    assert not any(isinstance(one.event, AccountChanged) for one in events)


def test_the_parties_of_a_transaction_are_its_sender_and_whom_it_pays() -> None:
    town = small_town()
    events = EventLog(town.database).block(1) or ()
    executed = next(one.event for one in events if isinstance(one.event, TransactionExecuted))
    assert executed.parties == (town.nodes[0].node_id, BOB.node_id)


def test_reading_goes_on_behind_any_cursor() -> None:
    log = EventLog(small_town().database)
    everything = list(log.after(Cursor(0, 0), 100))
    for at, one in enumerate(everything):
        assert list(log.after(one.place, 100)) == everything[at + 1 :]
        assert Cursor.parse(str(one.place)) == one.place
    assert next(log.after(Cursor.parse("1"), 100)).place == Cursor(2, 0)


@pytest.mark.parametrize("text", ["", ".", "1.", "-1", "1.x", "1.2.3", "٣", "9" * 40])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no cursor"):
        Cursor.parse(text)


def with_kinds(town: StoredTown, change: Callable[[tuple[Kind, ...]], tuple[Kind, ...]]) -> None:
    """Write the first block's events anew, with other kinds in front of them."""
    key = b"w/" + (1).to_bytes(8, "big")
    batch = decode(town.database.pairs[key], StoredBatch)
    changed = msgspec.structs.replace(batch, kinds=change(batch.kinds))
    town.database.pairs[key] = encode(changed)


def test_an_unknown_version_is_told() -> None:
    town = small_town()
    with_kinds(town, lambda kinds: (Kind(kinds[0].name, 9), *kinds[1:]))
    with pytest.raises(DecodeError, match="BlockCreated of version 9"):
        EventLog(town.database).block(1)


def test_who_does_not_want_an_unknown_kind_is_not_told() -> None:
    town = small_town()
    before = EventLog(town.database).block(1, frozenset({AccountChanged}))
    with_kinds(town, lambda kinds: (Kind(kinds[0].name, 9), *kinds[1:]))
    assert EventLog(town.database).block(1, frozenset({AccountChanged})) == before


def test_an_event_of_a_kind_that_its_batch_does_not_list_is_damage() -> None:
    town = small_town()
    with_kinds(town, lambda kinds: kinds[:1])
    with pytest.raises(DecodeError, match="damaged"):
        EventLog(town.database).block(1)


def test_every_kind_has_its_name_once() -> None:
    assert {"AccountChanged", "TaskChanged", "MemberChanged", "EpochChanged"} < KINDS.keys()


def test_replay_gives_the_same_roots_and_the_same_events() -> None:
    town = small_town()
    replayed = list(replay(town.genesis, town.database, HashVerifier(), 100))
    assert [one.fault for one in replayed] == [None] * len(town.executed)
    assert [one.state_root for one in replayed] == [one.state_root for one in town.results]
    part = list(replay(town.genesis, town.database, HashVerifier(), 2))
    assert [one.height for one in part] == [1, 2]


def test_replay_tells_where_the_log_was_changed() -> None:
    town = small_town()
    key = b"w/" + (2).to_bytes(8, "big")
    town.database.pairs[key] = town.database.pairs[b"w/" + (1).to_bytes(8, "big")]
    faults = [one.fault for one in replay(town.genesis, town.database, HashVerifier(), 100)]
    assert faults[0] is None
    assert faults[1] is not None
    assert "events" in faults[1]


@pytest.mark.parametrize(
    ("blocks", "each"), [(3, 500), pytest.param(50, 2000, marks=pytest.mark.slow)]
)
def test_many_transactions_replay_to_the_same_state(blocks: int, each: int) -> None:
    # The last payments are refused: those replay too.
    town = StoredTown(amount=blocks * each - 100)
    town.pay_many(blocks, each)
    replayed = list(replay(town.genesis, town.database, HashVerifier(), 10**6))
    assert sum(one.transactions for one in replayed) == blocks * each
    assert all(one.fault is None for one in replayed)
    assert [one.state_root for one in replayed] == [one.state_root for one in town.results]
