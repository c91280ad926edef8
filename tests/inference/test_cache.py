"""Caches keep their lives and bounds, in memory and on disk."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from inference.cache import CacheKind, MemoryCache
from node.storage.shelf import DiskShelf
from node.storage.store import LevelStore

LIFE_MS = CacheKind.RESPONSES.life_ms


def test_an_entry_lives_as_long_as_its_kind_and_no_longer() -> None:
    cache: MemoryCache[str] = MemoryCache(CacheKind.EMBEDDINGS)
    cache.put(b"k", "v", 10, 0)
    assert cache.get(b"k", CacheKind.EMBEDDINGS.life_ms - 1) == "v"
    assert cache.get(b"k", CacheKind.EMBEDDINGS.life_ms) is None
    assert (cache.figures().hits, cache.figures().misses) == (1, 1)
    assert cache.figures().hit_rate == 0.5


_PUTS = st.tuples(
    st.sampled_from([bytes([key]) for key in range(8)]),
    st.integers(0, CacheKind.EMBEDDINGS.max_bytes // 8),
    st.integers(0, 2 * CacheKind.EMBEDDINGS.life_ms),
)


@given(st.lists(_PUTS))
def test_the_bound_holds_whatever_is_kept(puts: list[tuple[bytes, int, int]]) -> None:
    cache: MemoryCache[int] = MemoryCache(CacheKind.EMBEDDINGS)
    for key, size, now_ms in puts:
        cache.put(key, size, size, now_ms)
        cache.check_invariants()
        assert cache.get(key, now_ms) in (size, None)


def test_the_least_recently_used_goes_first() -> None:
    cache: MemoryCache[int] = MemoryCache(CacheKind.EMBEDDINGS)
    tenth = CacheKind.EMBEDDINGS.max_bytes // 10
    for number in range(10):
        cache.put(bytes([number]), number, tenth, 0)
    assert cache.get(bytes([0]), 0) == 0
    cache.put(bytes([10]), 10, tenth, 0)
    assert cache.get(bytes([1]), 0) is None
    assert cache.get(bytes([0]), 0) == 0


def test_what_is_on_disk_is_there_after_a_restart_until_its_life_ends(tmp_path: Path) -> None:
    now = [1_000]
    with LevelStore(tmp_path / "a", create=True) as store:
        DiskShelf(CacheKind.RESPONSES, store, lambda: now[0]).put(b"k", b"v")
    with LevelStore(tmp_path / "a") as store:
        shelf = DiskShelf(CacheKind.RESPONSES, store, lambda: now[0])
        assert shelf.get(b"k") == b"v"
        assert shelf.figures().size_bytes == 1
    now[0] += LIFE_MS
    with LevelStore(tmp_path / "a") as store:
        shelf = DiskShelf(CacheKind.RESPONSES, store, lambda: now[0])
        assert shelf.get(b"k") is None
        assert shelf.figures().entries == 0
        assert store.scan(b"") == []


def test_a_full_shelf_gives_up_what_it_has_longest(tmp_path: Path) -> None:
    with LevelStore(tmp_path / "a", create=True) as store:
        shelf = DiskShelf(CacheKind.RESPONSES, store, lambda: 5)
        shelf._size_bytes = CacheKind.RESPONSES.max_bytes - 10
        shelf.put(b"a", b"1234567")
        shelf.put(b"b", b"1234567")
        assert shelf.get(b"a") is None
        assert shelf.get(b"b") == b"1234567"
        shelf.clear()
        assert shelf.get(b"b") is None
        assert store.scan(b"") == []
