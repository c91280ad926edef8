from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.storage.store import LevelStore, StagedStore, StoreError, StoreFault

WRITE_ON = """
import sys
from pathlib import Path
from node.storage.store import LevelStore
store = LevelStore(Path(sys.argv[1]), create=True)
number = 0
while True:
    store.write([(number.to_bytes(8, "big"), bytes(200)), (b"last", number.to_bytes(8, "big"))])
    print(number, flush=True)
    number += 1
"""
OPEN_ONCE_MORE = """
import sys
from pathlib import Path
from node.storage.store import LevelStore, StoreError
try:
    LevelStore(Path(sys.argv[1]))
except StoreError as error:
    print(error.fault.value, error)
"""
RECORDS = 300


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chain"


@pytest.fixture
def filled(path: Path) -> Path:
    with LevelStore(path, create=True) as store:
        for number in range(RECORDS):
            store.write([(b"%05d" % number, bytes([number % 256]) * 100)], sync=False)
    return path


def fault_of(path: Path) -> StoreFault:
    with pytest.raises(StoreError) as caught, LevelStore(path) as store:
        store.scan(b"")
    assert str(path) in str(caught.value)
    return caught.value.fault


def test_a_batch_is_read_back_in_the_order_of_its_keys(path: Path) -> None:
    with LevelStore(path, create=True) as store:
        store.write([(b"a/2", b"y"), (b"a/1", b"x"), (b"b", b"z"), (b"gone", b"1")])
        store.write([(b"gone", None)])
        assert store.scan(b"a/") == [(b"a/1", b"x"), (b"a/2", b"y")]
        assert store.get(b"gone") is None
    with LevelStore(path) as store:
        assert store.get(b"b") == b"z"


def test_a_missing_database_is_never_made_by_the_way(path: Path) -> None:
    assert fault_of(path) is StoreFault.MISSING
    assert not path.exists()
    path.mkdir()
    assert fault_of(path) is StoreFault.MISSING


def test_a_second_opener_is_refused_here_and_elsewhere_and_harms_nothing(path: Path) -> None:
    with LevelStore(path, create=True) as store:
        for _ in range(2):
            with pytest.raises(StoreError, match="open already") as caught:
                LevelStore(path)
            assert caught.value.fault is StoreFault.LOCKED
        told = subprocess.run(
            [sys.executable, "-c", OPEN_ONCE_MORE, str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.startswith("locked")
        store.write([(b"a", b"1")])
    with LevelStore(path) as store:
        assert store.get(b"a") == b"1"


def test_kill_9_loses_nothing_that_was_acknowledged(path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE_ON, str(path)], stdout=subprocess.PIPE, text=True
    )
    with writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= RECORDS:
                break
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().splitlines()
    acknowledged = int(rest[-1]) if rest and rest[-1].isdigit() else RECORDS
    with LevelStore(path) as store:
        last = int.from_bytes(store.get(b"last") or b"", "big")
        assert last >= acknowledged
        for number in range(last + 1):
            assert store.get(number.to_bytes(8, "big")) == bytes(200)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("at", [10, 500, 5000, 20_000])
def test_a_flipped_bit_in_the_log_is_noticed(filled: Path, at: int) -> None:
    flip(next(filled.glob("*.log")), at)
    assert fault_of(filled) is StoreFault.DAMAGED


def test_a_flipped_bit_in_a_table_is_noticed_and_nothing_is_repaired(filled: Path) -> None:
    with LevelStore(filled):
        pass  # opening moves the log into a table
    table = next(filled.glob("*.ldb"))
    flip(table, 2000)
    before = table.read_bytes()
    assert fault_of(filled) is StoreFault.DAMAGED
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: (path / "CURRENT").unlink(),
        lambda path: next(path.glob("MANIFEST-*")).unlink(),
        lambda path: flip(next(path.glob("MANIFEST-*")), 20),
        lambda path: (path / "CURRENT").write_text("rubbish"),
    ],
    ids=["no CURRENT", "no manifest", "damaged manifest", "damaged CURRENT"],
)
def test_a_lost_or_damaged_file_is_not_taken_for_a_new_database(
    filled: Path, harm: Callable[[Path], None]
) -> None:
    harm(filled)
    assert fault_of(filled) is StoreFault.DAMAGED
    with pytest.raises(StoreError):
        LevelStore(filled, create=True)


def test_a_torn_tail_loses_only_the_batch_that_was_never_acknowledged(filled: Path) -> None:
    log = next(filled.glob("*.log"))
    log.write_bytes(log.read_bytes()[:-30])
    with LevelStore(filled) as store:
        assert len(store.scan(b"")) == RECORDS - 1


def test_a_copy_of_a_home_can_be_opened(filled: Path, tmp_path: Path) -> None:
    shutil.copytree(filled, tmp_path / "copy")
    with LevelStore(filled), LevelStore(tmp_path / "copy") as copy:
        assert len(copy.scan(b"")) == RECORDS


KEYS = st.sampled_from([b"a", b"a1", b"a2", b"b", b"b1"])
WRITES = st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=3)), max_size=4)
FIRST = st.tuples(st.just("first"), WRITES)
STEPS = st.lists(
    st.one_of(WRITES, FIRST, st.sampled_from(["flush", "flush first", "settle"])), max_size=12
)
Staging = list[tuple[bytes, bytes | None]]


@settings(max_examples=40)  # each makes a database
@given(steps=STEPS)
def test_staged_reads_equal_those_of_a_store_that_wrote_at_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Staging | str | tuple[str, Staging]]
) -> None:
    expected: dict[bytes, bytes] = {}
    path = tmp_path_factory.mktemp("staged") / "db"
    is_flying = False
    with LevelStore(path, create=True) as disk:
        staged = StagedStore(disk)
        for step in steps:
            if step == "flush" and not is_flying:
                staged.flush()
                is_flying = True
            elif step == "flush first" and not is_flying:
                staged.take_first()
                staged.write_taken()
                is_flying = True
            elif step == "settle":
                staged.settle()
                is_flying = False
            elif not isinstance(step, str):
                stage = staged.stage if isinstance(step, list) else staged.stage_first
                writes = step if isinstance(step, list) else step[1]
                stage(writes)
                for key, value in writes:
                    expected.pop(key, None)
                    if value is not None:
                        expected[key] = value
            for prefix in (b"", b"a", b"b", b"c"):
                fitting = {key: expected[key] for key in expected if key.startswith(prefix)}
                assert staged.scan(prefix) == sorted(fitting.items())
            assert all(staged.get(key) == expected.get(key) for key in (b"a", b"a1", b"b", b"x"))
        if is_flying:
            staged.settle()
        staged.flush()
        assert disk.scan(b"") == sorted(expected.items())


def test_what_goes_first_is_on_disk_before_what_was_staged_before_it(path: Path) -> None:
    with LevelStore(path, create=True) as disk:
        staged = StagedStore(disk)
        staged.stage(((b"a", b"1"), (b"b", b"1")))
        staged.stage_first(((b"b", b"2"), (b"c", b"2")))
        staged.take_first()
        staged.write_taken()
        staged.settle()
        assert disk.scan(b"") == [(b"b", b"2"), (b"c", b"2")]
        staged.flush()
        assert disk.scan(b"") == [(b"a", b"1"), (b"b", b"2"), (b"c", b"2")]
