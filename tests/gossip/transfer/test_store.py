"""Contents on disk."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gossip.transfer.manifest import CHUNK_BYTES, Manifest, chunk_name, content_name, cut
from gossip.transfer.store import ContentStore, MissingChunkError, StoreFullError

BOUND = 8 * CHUNK_BYTES


def noise(seed: int, size_bytes: int) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "content", BOUND)


def test_what_goes_in_comes_out_whatever_pieces_it_came_in(store: ContentStore) -> None:
    data = noise(1, 2 * CHUNK_BYTES + 77)
    pieces = [data[at : at + 300_001] for at in range(0, len(data), 300_001)]
    name = store.add(pieces, keep=True)
    assert b"".join(store.read(name)) == data
    assert store.add([data], keep=True) == name


def test_an_empty_content_is_a_content(store: ContentStore) -> None:
    name = store.add([], keep=False)
    assert b"".join(store.read(name)) == b""
    held = store.find(name)
    assert held is not None
    assert held.is_complete


def test_equal_chunks_are_kept_once_and_stay_while_anybody_needs_them(store: ContentStore) -> None:
    same = noise(1, CHUNK_BYTES)
    one = store.add([same, noise(2, CHUNK_BYTES)], keep=False)
    other = store.add([same, same, noise(3, CHUNK_BYTES)], keep=False)
    assert store.used_bytes == 3 * CHUNK_BYTES
    assert store.remove(one)
    assert len(b"".join(store.read(other))) == 3 * CHUNK_BYTES
    assert store.used_bytes == 2 * CHUNK_BYTES


def test_the_bound_holds_and_the_least_used_makes_room(store: ContentStore) -> None:
    names = [store.add([noise(seed, 2 * CHUNK_BYTES)], keep=seed == 0) for seed in range(12)]
    assert store.used_bytes <= BOUND
    held = {one.name for one in store.listed()}
    assert names[0] in held, "what is kept stays"
    assert names[-1] in held
    assert names[1] not in held


def test_what_does_not_fit_is_refused_and_leaves_nothing(store: ContentStore) -> None:
    kept = store.add([noise(0, 6 * CHUNK_BYTES)], keep=True)
    with pytest.raises(StoreFullError, match="remove contents"):
        store.add([noise(1, 3 * CHUNK_BYTES)], keep=False)
    assert [one.name for one in store.listed()] == [kept]
    assert store.used_bytes == 6 * CHUNK_BYTES


def test_a_content_under_way_is_there_after_a_restart(tmp_path: Path) -> None:
    chunks = list(cut([noise(1, 3 * CHUNK_BYTES)]))
    manifest = Manifest(3 * CHUNK_BYTES, tuple(map(chunk_name, chunks)))
    store = ContentStore(tmp_path, BOUND)
    store.begin(manifest, keep=False)
    store.put_chunk(chunk_name(chunks[1]), chunks[1])
    (tmp_path / "chunks" / "ff").mkdir(exist_ok=True)
    (tmp_path / "chunks" / "ff" / ("ff" * 32)).write_bytes(b"the rest of something")
    again = ContentStore(tmp_path, BOUND)
    held = again.find(content_name(manifest))
    assert held is not None
    assert held.present_bytes == CHUNK_BYTES
    assert again.missing(manifest) == {0, 2}
    assert again.used_bytes == CHUNK_BYTES, "what belongs to nothing is gone"


def test_a_damaged_chunk_is_found_and_is_missing_from_then_on(store: ContentStore) -> None:
    name = store.add([noise(1, 2 * CHUNK_BYTES)], keep=True)
    held = store.find(name)
    assert held is not None
    chunk = held.manifest.chunks[1]
    path = store.folder / "chunks" / chunk.hex()[:2] / chunk.hex()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(MissingChunkError, match="chunk 1"):
        list(store.read(name))
    assert store.missing(held.manifest) == {1}
