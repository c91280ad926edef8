"""Contents between nodes: real transports and their twin in memory, real disks."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from gossip.codec import decode, encode
from gossip.identity import NodeId
from gossip.transfer.manifest import CHUNK_BYTES
from gossip.transfer.messages import (
    PROTOCOL,
    Absent,
    Chunk,
    GetChunk,
    GetManifest,
    ManifestIs,
    Request,
)
from gossip.transfer.service import ContentService, FetchError, Progress
from gossip.transfer.store import ContentStore
from gossip.transport import Stream, StreamError, Transport
from tests.gossip.transport.conftest import World, until

BOUND = 64 * CHUNK_BYTES
SIZE = 5 * CHUNK_BYTES + 1234


def noise(seed: int, size_bytes: int = SIZE) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


def everybody(_: NodeId) -> bool:
    return True


@pytest.fixture(params=["memory", "libp2p"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Town:
    """Nodes with contents."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._folder = world, folder

    async def transport(self, name: str) -> Transport:
        return await self._world.node(name)

    async def node(
        self,
        name: str,
        is_member: Callable[[NodeId], bool] = everybody,
        bytes_per_s: int | None = None,
    ) -> tuple[Transport, ContentService]:
        transport = await self._world.node(name)
        store = ContentStore(self._folder / name, BOUND)
        return transport, ContentService(transport, store, is_member, bytes_per_s)


async def test_a_content_comes_from_a_member(world: World, tmp_path: Path) -> None:
    town = Town(world, tmp_path)
    (alice, has), (bob, wants) = await town.node("alice"), await town.node("bob")
    name = has.store.add([noise(1)], keep=True)
    await bob.dial(alice.addresses()[0])
    progress = Progress()
    await wants.fetch(name, progress=progress)
    assert b"".join(wants.store.read(name)) == noise(1)
    assert progress.present_bytes == SIZE
    assert progress.sources == {alice.node_id: SIZE}


async def test_several_sources_share_the_work_and_a_liar_is_dropped(
    world: World, tmp_path: Path
) -> None:
    town = Town(world, tmp_path)
    bob, wants = await town.node("bob")
    (alice, has), (carol, too) = await town.node("alice"), await town.node("carol")
    name = has.store.add([noise(1, 20 * CHUNK_BYTES)], keep=True)
    assert too.store.add([noise(1, 20 * CHUNK_BYTES)], keep=True) == name
    for honest in (alice, carol):
        await bob.dial(honest.addresses()[0])
    mallory = await town.transport("mallory")
    held = has.store.find(name)
    assert held is not None
    manifest = held.manifest

    async def lie(_peer: NodeId, stream: Stream) -> None:
        while (raw := await stream.receive()) is not None:
            request: Request = decode(raw, Request)  # type: ignore[arg-type]
            answer = ManifestIs(manifest) if isinstance(request, GetManifest) else None
            await stream.send(encode(answer or Chunk(compressed=False, data=bytes(CHUNK_BYTES))))

    mallory.serve(PROTOCOL, lie)
    await bob.dial(mallory.addresses()[0])
    progress = Progress()
    await wants.fetch(name, progress=progress)
    assert b"".join(wants.store.read(name)) == noise(1, 20 * CHUNK_BYTES)
    assert set(progress.dropped) <= {mallory.node_id}
    assert mallory.node_id not in progress.sources
    assert len(progress.sources) == 2, "both honest members have helped"


async def test_a_fetch_that_was_cut_off_goes_on_where_it_was(world: World, tmp_path: Path) -> None:
    town = Town(world, tmp_path)
    bob, wants = await town.node("bob")
    alice, full = await town.node("alice")
    name = full.store.add([noise(1)], keep=True)
    held = full.store.find(name)
    assert held is not None
    carol = await town.transport("carol")
    manifest, chunks = held.manifest, list(full.store.read(name))

    async def two_and_no_more(_peer: NodeId, stream: Stream) -> None:
        await stream.receive()
        await stream.send(encode(ManifestIs(manifest)))
        for _ in range(2):
            request = decode(await stream.receive() or b"", GetChunk)
            index = manifest.chunks.index(request.chunk)
            await stream.send(encode(Chunk(compressed=False, data=chunks[index])))
        await until(lambda: len(wants.store.missing(manifest)) == len(chunks) - 2)
        raise StreamError("enough")

    carol.serve(PROTOCOL, two_and_no_more)
    await bob.dial(carol.addresses()[0])
    with pytest.raises(FetchError, match="try again"):
        await wants.fetch(name)
    await bob.dial(alice.addresses()[0])
    progress = Progress()
    await wants.fetch(name, [alice.node_id], progress=progress)
    assert progress.sources == {alice.node_id: SIZE - 2 * CHUNK_BYTES}
    assert b"".join(wants.store.read(name)) == noise(1)


async def test_equal_chunks_travel_once_and_text_is_compressed(
    world: World, tmp_path: Path
) -> None:
    town = Town(world, tmp_path)
    (alice, has), (bob, wants) = await town.node("alice"), await town.node("bob")
    text = (b"a node turns requests into tasks. " * 40_000)[:CHUNK_BYTES]
    name = has.store.add([text * 6], keep=True)
    await bob.dial(alice.addresses()[0])
    progress = Progress()
    await wants.fetch(name, progress=progress)
    assert b"".join(wants.store.read(name)) == text * 6
    assert progress.present_bytes == 6 * CHUNK_BYTES
    assert progress.wire_bytes < CHUNK_BYTES / 10


async def test_a_bomb_is_a_lie(world: World, tmp_path: Path) -> None:
    import zstandard  # noqa: PLC0415 - this test alone makes such data

    town = Town(world, tmp_path)
    bob, wants = await town.node("bob")
    _, full = await town.node("alice")
    name = full.store.add([noise(1, 100)], keep=True)
    held = full.store.find(name)
    assert held is not None
    manifest = held.manifest
    mallory = await town.transport("mallory")

    async def bomb(_peer: NodeId, stream: Stream) -> None:
        await stream.receive()
        await stream.send(encode(ManifestIs(manifest)))
        await stream.receive()
        data = zstandard.ZstdCompressor().compress(bytes(50_000_000))
        await stream.send(encode(Chunk(compressed=True, data=data)))
        await stream.receive()

    mallory.serve(PROTOCOL, bomb)
    await bob.dial(mallory.addresses()[0])
    progress = Progress()
    with pytest.raises(FetchError):
        await wants.fetch(name, progress=progress)
    assert "something else" in progress.dropped[mallory.node_id]


async def test_strangers_get_nothing(world: World, tmp_path: Path) -> None:
    town = Town(world, tmp_path)
    alice, has = await town.node("alice", lambda _: False)
    bob, wants = await town.node("bob")
    name = has.store.add([noise(1)], keep=True)
    await bob.dial(alice.addresses()[0])
    with pytest.raises(FetchError, match="none of the 1 members"):
        await wants.fetch(name)
    assert has.counters["refused_streams"] == 1
    assert has.counters["chunks_sent"] == 0


async def test_who_has_only_a_part_gives_that(world: World, tmp_path: Path) -> None:
    town = Town(world, tmp_path)
    (alice, full), (bob, wants) = await town.node("alice"), await town.node("bob")
    carol, part = await town.node("carol")
    name = full.store.add([noise(1)], keep=True)
    held = full.store.find(name)
    assert held is not None
    part.store.begin(held.manifest, keep=False)
    part.store.put_chunk(held.manifest.chunks[0], next(full.store.read(name)))
    await bob.dial(carol.addresses()[0])
    with pytest.raises(FetchError, match="5 chunks"):
        await wants.fetch(name)
    await bob.dial(alice.addresses()[0])
    await wants.fetch(name)
    assert b"".join(wants.store.read(name)) == noise(1)


async def test_the_cap_is_kept(world: World, tmp_path: Path) -> None:
    town = Town(world, tmp_path)
    alice, has = await town.node("alice", bytes_per_s=10 * CHUNK_BYTES)
    bob, wants = await town.node("bob")
    name = has.store.add([noise(1, 8 * CHUNK_BYTES)], keep=True)
    await bob.dial(alice.addresses()[0])
    began = trio.current_time()
    await wants.fetch(name)
    # 8 MiB, less a burst of a quarter of a second and the chunk that overdraws.
    assert trio.current_time() - began >= 0.45


async def test_garbage_on_a_stream_harms_nobody(world: World, tmp_path: Path) -> None:
    town = Town(world, tmp_path)
    (alice, has), (bob, wants) = await town.node("alice"), await town.node("bob")
    name = has.store.add([noise(1)], keep=True)
    await bob.dial(alice.addresses()[0])
    for raw in (b"", b"\xff" * 1000, encode(Absent()), encode(GetManifest(bytes(32)))[:-1]):
        stream = await bob.open_stream(alice.node_id, PROTOCOL)
        await stream.send(raw)
        with suppress(StreamError):
            assert await stream.receive() is None
        await stream.reset()
    await wants.fetch(name)
    assert has.counters["chunks_sent"] == 6
