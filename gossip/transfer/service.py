"""Contents to and from other nodes: the shell around `download`, `bandwidth` and `store`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from gossip.codec import DecodeError, Digest, decode, encode
from gossip.effects import SetTimer
from gossip.identity import NodeId
from gossip.transfer.bandwidth import Bandwidth
from gossip.transfer.compression import compressed, expanded
from gossip.transfer.download import (
    Arrived,
    Ask,
    Complete,
    Download,
    DownloadEvent,
    DropSource,
    Lacking,
    Lied,
    SourceDown,
    SourceUp,
    Starved,
    Waited,
)
from gossip.transfer.manifest import Manifest, chunk_name, read_manifest
from gossip.transfer.messages import (
    PROTOCOL,
    Absent,
    Answer,
    Chunk,
    GetChunk,
    GetManifest,
    ManifestIs,
    Priority,
    Request,
)
from gossip.transfer.store import ContentError, ContentStore
from gossip.transport import Stream, StreamError, Transport

_MAX_SOURCES: Final = 8
_STREAMS_A_PEER: Final = 4
_AHEAD: Final = 2
_WINDOW_BYTES: Final = 2 * 2**20
_IDLE_S: Final = 60.0
_MANIFEST_S: Final = 10.0


class FetchError(ContentError):
    """A content can't be had; the text says from whom it was asked and what became of it."""


@dataclass(slots=True)
class Progress:
    """How far a fetch has come, for whoever waits for it."""

    size_bytes: int = 0
    present_bytes: int = 0
    wire_bytes: int = 0
    sources: dict[NodeId, int] = field(default_factory=dict)
    dropped: dict[NodeId, str] = field(default_factory=dict)


class ContentService:
    """Serves this node's contents to members, and fetches those of others.

    `bytes_per_s` caps what is sent to all others together.
    """

    def __init__(
        self,
        link: Transport,
        store: ContentStore,
        is_member: Callable[[NodeId], bool],
        bytes_per_s: int | None = None,
    ) -> None:
        self.store = store
        self.counters: Counter[str] = Counter()
        self._link, self._is_member = link, is_member
        self._pacer = _Pacer(bytes_per_s)
        self._streams: Counter[NodeId] = Counter()
        self._writing = trio.Lock()
        link.serve(PROTOCOL, self._serve)

    def admits(self, peer: NodeId) -> bool:
        """Whether the peer may have contents."""
        return self._is_member(peer)

    # Serving

    async def _serve(self, peer: NodeId, stream: Stream) -> None:
        if not self._is_member(peer) or self._streams[peer] >= _STREAMS_A_PEER:
            self.counters["refused_streams"] += 1
            return
        self._streams[peer] += 1
        try:
            async with trio.open_nursery() as nursery:
                into, out_of = trio.open_memory_channel[Answer](_AHEAD)
                nursery.start_soon(self._send_answers, stream, out_of)
                async with into:
                    await self._read_requests(stream, into)
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]

    async def _read_requests(self, stream: Stream, into: trio.MemorySendChannel[Answer]) -> None:
        while (raw := await _received(stream)) is not None:
            try:
                request: Request = decode(raw, Request)  # type: ignore[arg-type]
            except DecodeError as error:
                raise StreamError(f"a request for a content does not decode: {error}") from None
            answer = await trio.to_thread.run_sync(self._answer, request)
            if isinstance(request, GetChunk) and isinstance(answer, Chunk):
                await self._pacer.wait(request.priority, len(answer.data))
            await into.send(answer)

    def _answer(self, request: Request) -> Answer:
        """In a thread."""
        if isinstance(request, GetManifest):
            held = self.store.find(request.content)
            return Absent() if held is None else ManifestIs(held.manifest)
        data = self.store.chunk(request.chunk)
        if data is None:
            return Absent()
        smaller = compressed(data)
        return Chunk(False, data) if smaller is None else Chunk(True, smaller)  # noqa: FBT003 - by position on the wire

    async def _send_answers(
        self, stream: Stream, out_of: trio.MemoryReceiveChannel[Answer]
    ) -> None:
        async with out_of:
            async for answer in out_of:
                await stream.send(encode(answer))
                if isinstance(answer, Chunk):
                    self.counters["chunks_sent"] += 1
                    self.counters["bytes_sent"] += len(answer.data)
        await stream.close()

    # Fetching

    async def fetch(
        self,
        content: Digest,
        peers: Iterable[NodeId] | None = None,
        *,
        priority: Priority = Priority.BULK,
        keep: bool = False,
        progress: Progress | None = None,
    ) -> Manifest:
        """Bring a content here, from these peers or from any connected member that has it.

        Returns when all of it is in the store. Raises `FetchError`, `StoreFullError`. What has come by then stays, and
        the next fetch goes on from there.
        """
        progress = Progress() if progress is None else progress
        asked = self._link.peers() if peers is None else peers
        candidates = sorted(peer for peer in asked if self._is_member(peer))
        held = self.store.find(content)
        if held is not None and held.is_complete:
            progress.size_bytes = progress.present_bytes = held.manifest.size_bytes
            self.store.begin(held.manifest, keep=keep)
            return held.manifest
        async with self._sources(content, candidates) as (manifest, streams):
            if manifest is None:
                raise FetchError(
                    f"none of the {len(candidates)} members asked has the content {content.hex()}; "
                    "ask again when one that has it is connected"
                )
            self.store.begin(manifest, keep=keep)
            self.store.hold(content)
            try:
                await _Fetch(self, content, manifest, priority, progress).run(streams)
            finally:
                self.store.let_go(content)
        return manifest

    @asynccontextmanager
    async def _sources(
        self, content: Digest, candidates: list[NodeId]
    ) -> AsyncIterator[tuple[Manifest | None, dict[NodeId, Stream]]]:
        """Streams to peers that have shown the manifest."""
        found: dict[NodeId, Stream] = {}
        manifests: list[Manifest] = []

        async def ask(peer: NodeId, limit: trio.CapacityLimiter) -> None:
            async with limit:
                if len(found) >= _MAX_SOURCES:
                    return
                with trio.move_on_after(_MANIFEST_S):
                    opened = await self._shown_manifest(peer, content)
                    if opened is not None:
                        manifest, found[peer] = opened
                        manifests.append(manifest)

        async with AsyncExitStack() as stack:
            async with trio.open_nursery() as nursery:
                limit = trio.CapacityLimiter(_MAX_SOURCES)
                for peer in candidates:
                    nursery.start_soon(ask, peer, limit)
            for stream in found.values():
                stack.push_async_callback(stream.reset)
            yield (manifests[0] if manifests else None), found

    async def _shown_manifest(
        self, peer: NodeId, content: Digest
    ) -> tuple[Manifest, Stream] | None:
        try:
            stream = await self._link.open_stream(peer, PROTOCOL, window_bytes=_WINDOW_BYTES)
        except StreamError:
            return None
        try:
            await stream.send(encode(GetManifest(content)))
            raw = await stream.receive()
            answer: Answer = decode(raw or b"", Answer)  # type: ignore[arg-type]
            if isinstance(answer, ManifestIs):
                return read_manifest(encode(answer.manifest), content), stream
        except (StreamError, DecodeError):
            self.counters["bad_manifests"] += 1
        except BaseException:
            await stream.reset()
            raise
        await stream.reset()
        return None

    async def take(self, chunk: bytes, data: bytes) -> None:
        """Put a checked chunk on disk."""
        async with self._writing:
            await trio.to_thread.run_sync(self.store.put_chunk, chunk, data)


class _Fetch:
    """One download under way: a task for each source's answers, and one that watches the clock."""

    def __init__(
        self,
        service: ContentService,
        content: Digest,
        manifest: Manifest,
        priority: Priority,
        progress: Progress,
    ) -> None:
        self._service, self._content, self._manifest = service, content, manifest
        self._priority, self._progress = priority, progress
        missing = service.store.missing(manifest)
        # Equal chunks of one content are fetched once.
        self._indexes: dict[bytes, list[int]] = {}
        for index in sorted(missing):
            self._indexes.setdefault(manifest.chunks[index], []).append(index)
        self._core = Download(frozenset(indexes[0] for indexes in self._indexes.values()))
        progress.size_bytes = manifest.size_bytes
        progress.present_bytes = manifest.size_bytes - sum(map(manifest.size_of, missing))
        self._asks: dict[NodeId, trio.MemorySendChannel[int]] = {}
        self._streams: dict[NodeId, Stream] = {}
        self._deadline = math.inf
        self._timer_set = trio.Event()
        self._starved = False
        self._nursery: trio.Nursery | None = None

    async def run(self, streams: dict[NodeId, Stream]) -> None:
        """Return when all is here. Raises `FetchError`."""
        self._streams = dict(streams)
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._watch_clock)
            for peer, stream in streams.items():
                into, out_of = trio.open_memory_channel[int](16)
                self._asks[peer] = into
                self._nursery.start_soon(self._talk, peer, stream, out_of)
            for peer in streams:
                await self._post(SourceUp(peer))
        if self._core.missing:
            told = "; ".join(
                f"{peer.hex()[:12]}: {reason}" for peer, reason in self._progress.dropped.items()
            )
            raise FetchError(
                f"{len(self._core.missing)} chunks of the content {self._content.hex()} are "
                f"missing, and nobody is left to ask ({told or 'all are gone'}); try again, what "
                "has come is kept"
            )

    async def _post(self, event: DownloadEvent) -> None:
        assert self._nursery is not None
        for effect in self._core.handle(_now_ms(), event):
            match effect:
                case Ask():
                    self._asks[effect.peer].send_nowait(effect.index)
                case DropSource():
                    self._progress.dropped[effect.peer] = effect.reason
                    await self._streams[effect.peer].reset()
                case SetTimer():
                    self._deadline = trio.current_time() + effect.delay_ms / 1000
                    self._timer_set.set()
                case Complete() | Starved():
                    self._nursery.cancel_scope.cancel()

    async def _watch_clock(self) -> None:
        while True:
            self._timer_set = trio.Event()
            with trio.move_on_at(self._deadline) as limit:
                await self._timer_set.wait()
            if limit.cancelled_caught:
                self._deadline = math.inf
                await self._post(Waited())

    async def _talk(
        self, peer: NodeId, stream: Stream, asks: trio.MemoryReceiveChannel[int]
    ) -> None:
        into, out_of = trio.open_memory_channel[int](64)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_asks, stream, asks, into)
                async for index in out_of:
                    await self._take_answer(peer, index, await stream.receive())
        except* StreamError as errors:
            self._progress.dropped.setdefault(peer, str(errors.exceptions[0]))
            await self._post(SourceDown(peer))

    async def _send_asks(
        self,
        stream: Stream,
        asks: trio.MemoryReceiveChannel[int],
        into: trio.MemorySendChannel[int],
    ) -> None:
        async for index in asks:
            # A stream that was cut is told by whoever reads it, after what came before the cut.
            with suppress(StreamError):
                await stream.send(encode(GetChunk(self._manifest.chunks[index], self._priority)))
            await into.send(index)

    async def _take_answer(self, peer: NodeId, index: int, raw: bytes | None) -> None:
        if raw is None:
            raise StreamError("it ended the stream")
        try:
            answer: Answer = decode(raw, Answer)  # type: ignore[arg-type]
        except DecodeError as error:
            await self._post(Lied(peer, f"its answer does not decode: {error}"))
            return
        if isinstance(answer, Absent):
            await self._post(Lacking(peer, index))
            return
        name, size_bytes = self._manifest.chunks[index], self._manifest.size_of(index)
        data = None
        if isinstance(answer, Chunk):
            data = await trio.to_thread.run_sync(partial(_checked, answer, name, size_bytes))
        if data is None:
            self._service.counters["lies"] += 1
            await self._post(Lied(peer, "it sent something else than the chunk it was asked for"))
            return
        assert isinstance(answer, Chunk)
        if index in self._core.missing:
            await self._service.take(name, data)
            fresh_bytes = size_bytes * len(self._indexes[name])
            self._progress.present_bytes += fresh_bytes
        self._progress.wire_bytes += len(answer.data)
        self._progress.sources[peer] = self._progress.sources.get(peer, 0) + size_bytes
        await self._post(Arrived(peer, index))


async def _received(stream: Stream) -> bytes | None:
    """The next request, None at the end. Raises `trio.TooSlowError` when there was none for long."""
    with trio.fail_after(_IDLE_S):
        return await stream.receive()


def _checked(answer: Chunk, name: bytes, size_bytes: int) -> bytes | None:
    """The chunk's bytes if they are those of its name; in a thread."""
    data = expanded(answer.data, size_bytes) if answer.compressed else answer.data
    return data if data is not None and chunk_name(data) == name else None


class _Pacer:
    """Has senders wait for their turn under a cap."""

    def __init__(self, bytes_per_s: int | None) -> None:
        self._core = Bandwidth(bytes_per_s)
        self._turns: dict[int, trio.Event] = {}

    async def wait(self, priority: Priority, size_bytes: int) -> None:
        """Return when so many bytes may be sent."""
        if self._core.bytes_per_s is None:
            return
        ticket = self._core.ask(priority, size_bytes)
        turn = self._turns[ticket] = trio.Event()
        try:
            while not turn.is_set():
                for granted in self._core.grant(_now_ms()):
                    self._turns[granted].set()
                due_ms = self._core.due_ms(_now_ms())
                deadline = math.inf if due_ms is None else due_ms / 1000
                with trio.move_on_at(deadline):
                    await turn.wait()
        finally:
            del self._turns[ticket]
            if not turn.is_set():
                self._core.give_back(ticket)


def _now_ms() -> int:
    return int(1000 * trio.current_time())
