"""A block that a crash takes away takes the votes above it along, as the daemon's order of syncs does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulations.worlds.disk import MemoryStore

KEYS = st.binary(max_size=2)
BATCHES = st.lists(st.tuples(KEYS, st.none() | st.just(b"1")), min_size=1, max_size=4).map(tuple)


@given(st.lists(BATCHES | KEYS | st.booleans(), max_size=30))
def test_a_scan_is_in_order_whatever_was_written_lost_and_scanned_before(
    steps: list[tuple[tuple[bytes, bytes | None], ...] | bytes | bool],
) -> None:
    store, states = MemoryStore(), [dict[bytes, bytes]()]
    for step in steps:
        if isinstance(step, bytes):
            wanted = [pair for pair in sorted(states[-1].items()) if pair[0].startswith(step)]
            assert store.scan(step) == wanted
        elif isinstance(step, bool):
            lost = min(store.unsynced, 1 + step)
            states = [states[-1 - lost]]
            store.lose(lost)
        else:
            store.write(step, 2**62)
            state = states[-1] | {key: value for key, value in step if value is not None}
            for key, value in step:
                if value is None and dict(step)[key] is None:
                    state.pop(key, None)
            states.append(state)


def test_what_was_written_after_a_lost_batch_of_another_database_is_known_by_its_number() -> None:
    votes = MemoryStore()
    votes.write(((b"vote", b"9"),), 50, number=1)
    votes.write(((b"vote", b"11"),), 50, number=3)
    assert votes.written_after(2) == 1
    votes.lose(votes.written_after(2))
    assert votes.get(b"vote") == b"9"


def test_a_lazy_batch_that_is_lost_takes_no_vote_along() -> None:
    chain = MemoryStore()
    chain.write(((b"block", b"10"),), 50, number=1)
    chain.write(((b"certificate", b"10"),), lazy=True, number=2)
    assert chain.first_of(0) is None
    assert chain.first_of(1) is None
    assert chain.first_of(2) == 1
