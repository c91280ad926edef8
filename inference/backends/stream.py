"""One streamed answer: bytes in, checked chunks out, and no clean end without a proper one."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final, Protocol

import trio

from inference.backends.likeness import Likeness
from inference.backends.passing import chunk_event
from inference.backends.servers import Take
from inference.backends.silence import watch
from inference.backends.wire import Reply
from inference.chat import Call, JsonObject, StreamCheck, decode_object
from inference.failures import Broken, Failure, Garbled, Silent
from inference.lines import LineTooLong
from inference.sse import event

_MOST_LESSONS: Final = 16
"""Where more than the text changes from chunk to chunk, to learn what they have in common is lost work."""
_AFTER_END_S: Final = 0.2
"""How long the end of HTTP's body may come after the end of the answer, for the connection to be kept."""


class ChunkReader(Protocol):
    """Bytes of one protocol to chunks in OpenAI's form."""

    @property
    def is_done(self) -> bool:
        """Whether the protocol's own end has come."""

    def event_in(self, received: bytes) -> bytes | None:
        """The JSON of a chunk, if these bytes are an event of OpenAI's protocol that holds it, and nothing else."""

    def feed(self, received: bytes) -> Iterator[tuple[JsonObject, bytes | None]]:
        """The chunks that end in these bytes, each with its JSON if that can be passed on as it came.

        Raises `Failure`, `LineTooLong`.
        """


class ChunkStream:
    """A `TokenStream`. `silence_s` is the longest pause between two chunks."""

    def __init__(self, reply: Reply, reader: ChunkReader, call: Call, silence_s: float) -> None:
        self._reply, self._reader = reply, reader
        self._patience = watch(silence_s, reply.cut)
        self._check = StreamCheck(call)
        self._ready: deque[JsonObject] = deque()
        """The chunks of one piece of received bytes: never more than fit into it."""
        self._last = b""
        """The events that came with the end."""
        self._like: Likeness | None = None
        """What is like the last event that was a piece of its own: as good as that one, as `_check` has found it."""
        self._lessons = 0
        self._framed: Take | None = None
        """What takes events in HTTP's chunks."""
        self._is_full = False
        """Whether the events went to somebody who has no room for more."""

    async def receive(self) -> JsonObject | None:
        """The next chunk; None after a proper end."""
        if not self._ready and not self._reader.is_done:
            await self._until_end(self._keep_next)
        if self._ready:
            return self._ready.popleft()
        await self._end()
        return None

    async def _keep_next(self) -> None:
        while not (self._ready or self._reader.is_done):
            received = await self._reply.receive()
            if received is None:
                return
            for chunk, _ in self._reader.feed(received):
                self._check.take(chunk)
                self._ready.append(chunk)

    async def pass_on(self, take: Take, framed: Take | None = None, /) -> bytes | None:
        """As `TokenStream` says."""
        if self._ready:
            events = b"".join(map(chunk_event, self._ready))
            self._ready.clear()
            if not take(events):
                return None
        if not self._reader.is_done:
            self._is_full = False
            passing = partial(self._pass_events, take)
            self._framed = framed
            passing_framed = None if framed is None else self._pass_framed
            await self._until_end(partial(self._reply.receive_each, passing, passing_framed))
            if self._is_full:
                return None
        if self._last and not (self._reply.is_whole and self._check.is_complete):
            # The end is not here, or is none: nothing of the answer waits for that.
            last, self._last = self._last, b""
            if not take(last):
                return None
        await self._end()
        return self._last

    def _pass_framed(self, received: bytes) -> bool | None:
        """The way of nearly all that comes, in as few steps as there can be."""
        if self._like is None or not self._like.holds_framed(received):
            return None
        assert self._framed is not None
        self._patience.begins()
        has_room = self._framed(received)
        self._is_full = not has_room
        return has_room

    def _pass_events(self, take: Take, received: bytes) -> bool:
        if self._like is not None and self._like.holds(received):
            return self._give(take, received)
        data = self._reader.event_in(received)
        if data is not None:
            chunk = decode_object(data)
            if self._check.take(chunk):
                return self._give(take, chunk_event(chunk))
            if self._lessons < _MOST_LESSONS:
                self._lessons += 1
                self._like = Likeness.of(received, chunk)
            return self._give(take, received)
        # From here on an event may begin in one piece and end in another.
        self._like = None
        events: list[bytes] = []
        try:
            for chunk, said in self._reader.feed(received):
                is_changed = self._check.take(chunk)
                events.append(chunk_event(chunk) if said is None or is_changed else event(said))
        except (Failure, LineTooLong):
            # What came before what is wrong is a part of the answer.
            if events:
                take(b"".join(events))
            raise
        if self._reader.is_done:
            self._last = b"".join(events)
            return False
        # What is no chunk, pings say, breaks no silence.
        return not events or self._give(take, b"".join(events))

    def _give(self, take: Take, events: bytes) -> bool:
        self._patience.begins()
        self._is_full = not take(events)
        return not self._is_full

    async def _until_end(self, take_all: Callable[[], Awaitable[None]]) -> None:
        """Wait for what the bytes or their end bring, for as long as patience lasts."""
        patience = self._patience
        patience.begins()
        try:
            await take_all()
        except LineTooLong as error:
            raise Garbled(f"its stream holds {error}") from error
        except Broken as error:
            if not patience.is_over:
                raise
            silent_s = patience.limit_s
            raise Silent(f"it fell silent for {silent_s:g} s in the middle of an answer") from error
        patience.pauses()

    async def _end(self) -> None:
        """After the last chunk. Raises `Broken` unless it was a proper one."""
        self._check.end()
        if not self._reply.is_whole:
            with trio.move_on_after(_AFTER_END_S):
                await self._reply.receive()

    async def aclose(self) -> None:
        self._patience.ends()
        self._reply.close()
