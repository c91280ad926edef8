"""A block that a crash takes away takes the votes above it along, as the daemon's order of syncs does."""

from __future__ import annotations

from simulations.worlds.disk import MemoryStore


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
