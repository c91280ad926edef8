"""The votes database: sealed, noticed when damaged or behind, set aside, and begun afresh after a rotation."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from gossip.codec import DecodeError
from node.founding import prepare
from node.storage.home import Home, HomeError
from node.storage.sealed_store import SealedStore, check_note, note_write
from node.storage.store import LevelStore, StagedStore, StoreError
from node.storage.votes import begin_fresh, open_votes
from node.storage.voting_key import (
    finish_rotation,
    forget_retired,
    held,
    next_key,
    prepare_rotation,
    retired_keys,
)
from tests.consensus.world import MemoryReader

KEY = b"\x07" * 32


def write(store: SealedStore, *pairs: tuple[bytes, bytes | None]) -> None:
    store.stage(pairs)
    store.flush()
    store.settle()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    prepare(made)
    with LevelStore(made.votes, create=True) as disk:
        votes = SealedStore(disk)
        for number in range(20):
            write(votes, (b"ballots", b"vote %d" % number), (b"body/%d" % number, b"x" * 100))
        write(votes, (b"body/3", None))
    return made


def opened(home: Home, chain: MemoryReader | None = None) -> tuple[int, str | None]:
    with ExitStack() as stack:
        votes, reason = open_votes(home, chain or MemoryReader(), KEY, stack)
        return votes.number, reason


def test_a_whole_log_opens_again_and_goes_on_counting(home: Home) -> None:
    assert opened(home) == (21, None)
    with LevelStore(home.votes) as disk:
        votes = SealedStore(disk)
        write(votes, (b"ballots", b"another"))
        assert votes.get(b"ballots") == b"another"
    assert opened(home) == (22, None)


def test_damage_at_any_place_is_found_at_the_start(home: Home, tmp_path: Path) -> None:
    """Every byte of the log file is flipped in turn, as far as it holds records."""
    (log,) = home.votes.glob("*.log")
    whole = log.read_bytes()
    assert len(whole) > 1000
    shutil.copytree(home.votes, tmp_path / "kept")
    for place in range(0, len(whole), 97):
        shutil.rmtree(home.votes)
        shutil.copytree(tmp_path / "kept", home.votes)
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        (home.votes / log.name).write_bytes(damaged)
        number, reason = opened(home, MemoryReader((note_write(KEY, 21),)))
        assert reason is not None, place
        assert "damaged" in reason
        assert number == 0


def test_records_of_two_moments_do_not_pass_for_one(home: Home) -> None:
    with LevelStore(home.votes) as disk:
        old = disk.get(b"ballots")
        write(SealedStore(disk), (b"ballots", b"newer"))
        disk.write(((b"ballots", old),))
        with pytest.raises(StoreError, match="not those that were sealed"):
            SealedStore(disk)
        disk.write(((b"seal", None),))
        with pytest.raises(StoreError, match="no seal"):
            SealedStore(disk)
        disk.write(((b"seal", b"\xc1"),))
        with pytest.raises(StoreError, match="can't be read"):
            SealedStore(disk)


def test_votes_older_than_the_chain_knows_them_are_damaged(home: Home) -> None:
    chain = MemoryReader((note_write(KEY, 22),))
    _, reason = opened(home, chain)
    assert reason is not None
    assert "newest records are missing" in reason
    with LevelStore(home.votes) as disk:
        check_note(SealedStore(disk), MemoryReader((note_write(b"\x08" * 32, 99),)), (KEY,))


def test_a_lost_log_is_not_a_new_one(home: Home) -> None:
    shutil.rmtree(home.votes)
    number, reason = opened(home)
    assert number == 0
    assert reason is not None
    assert "missing" in reason
    assert not home.votes.exists()


def test_after_a_rotation_the_log_beside_takes_the_place_of_the_damaged_one(home: Home) -> None:
    begin_fresh(home)
    assert not home.votes_replaced.exists(), "a whole log stays"
    with LevelStore(home.votes) as disk:
        disk.write(((b"seal", None),))
    with ExitStack() as stack:
        votes, _ = open_votes(home, MemoryReader(), KEY, stack)
        write(votes, (b"ballots", b"with the fresh key"))
        begin_fresh(home)
    with ExitStack() as stack:
        votes, reason = open_votes(home, MemoryReader(), KEY, stack)
        assert reason is None
        assert votes.get(b"ballots") == b"with the fresh key"
    assert (home.path / "votes-damaged-1").is_dir()
    assert opened(home) == (1, None)


def test_an_open_log_is_no_damaged_one(home: Home) -> None:
    with LevelStore(home.votes), pytest.raises(StoreError, match="open already"):
        opened(home)


def test_what_an_unsealed_store_writes_is_unchanged(tmp_path: Path) -> None:
    with LevelStore(tmp_path / "plain", create=True) as disk:
        store = StagedStore(disk)
        store.stage(((b"key", b"value"),))
        store.flush()
        store.settle()
        assert disk.scan(b"") == [(b"key", b"value")]


def test_one_key_is_held_once_on_a_machine() -> None:
    key = b"\x42" * 32
    with held(key):
        with pytest.raises(HomeError, match="in use on this machine already"), held(key):
            raise DecodeError("never reached")
        with held(b"\x43" * 32):
            pass
    with held(key):
        pass


def test_a_rotation_survives_a_crash_between_any_two_steps(home: Home) -> None:
    keys = prepare(home)
    fresh = prepare_rotation(home)
    assert prepare_rotation(home).public == fresh.public, "the same key is asked for again"
    assert prepare(home).voting.public == keys.voting.public
    finish_rotation(home, keys.identity.public, b"\x01" * 32)
    assert next_key(home) is not None, "the ledger names another key"
    text = f"identity {keys.identity.public.hex()}\nvoting {fresh.public.hex()}\n"
    home.public_keys.write_text(text)
    assert prepare(home).voting.public == fresh.public, "cut off before the file was moved"
    assert next_key(home) is None
    finish_rotation(home, keys.identity.public, fresh.public)
    assert prepare(home).voting.public == fresh.public


def test_the_keys_of_before_stay_until_nobody_needs_them(home: Home) -> None:
    former = []
    assert retired_keys(home) == []
    for _ in range(3):
        keys = prepare(home)
        former.append(keys.voting.public)
        fresh = prepare_rotation(home)
        finish_rotation(home, keys.identity.public, fresh.public)
        finish_rotation(home, keys.identity.public, fresh.public)
        assert {one.public for one in retired_keys(home)} == set(former)
    modes = {path.stat().st_mode & 0o777 for path in home.retired_voting_keys()}
    assert modes == {0o600}
    forget_retired(home)
    assert retired_keys(home) == []
    forget_retired(home)


def test_a_home_with_one_key_of_before_is_read_as_it_is(home: Home) -> None:
    """There was room for one, and it was called `voting.key.last`."""
    keys = prepare(home)
    (home.path / "voting.key.last").write_bytes(home.voting_key.read_bytes())
    (home.path / "voting.key.last").chmod(0o600)
    assert [one.public for one in retired_keys(home)] == [keys.voting.public]
    forget_retired(home)
    assert not (home.path / "voting.key.last").exists()
