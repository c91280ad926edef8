"""One streamed answer: bytes in, checked chunks out, and no clean end without a proper one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

import trio

from inference.backends.silence import watch
from inference.backends.wire import Reply
from inference.chat import Call, JsonObject, StreamCheck
from inference.failures import Broken, Garbled, Silent
from inference.lines import LineTooLong

_AFTER_END_S: Final = 0.2
"""How long the end of HTTP's body may come after the end of the answer, for the connection to be kept."""


class ChunkReader(Protocol):
    """Bytes of one protocol to chunks in OpenAI's form."""

    @property
    def is_done(self) -> bool:
        """Whether the protocol's own end has come."""

    def feed(self, received: bytes) -> Iterator[JsonObject]:
        """The chunks that end in these bytes. Raises `Failure`, `LineTooLong`."""


class ChunkStream:
    """A `TokenStream`. `silence_s` is the longest pause between two chunks."""

    def __init__(self, reply: Reply, reader: ChunkReader, call: Call, silence_s: float) -> None:
        self._reply, self._reader = reply, reader
        self._patience = watch(silence_s, reply.cut)
        self._check = StreamCheck(call)
        self._ready: deque[JsonObject] = deque()
        """The chunks of one piece of received bytes: never more than fit into it."""

    async def receive(self) -> JsonObject | None:
        """The next chunk; None after a proper end."""
        if not self._ready and not self._reader.is_done:
            await self._fill()
        if self._ready:
            return self._ready.popleft()
        self._check.end()
        with trio.move_on_after(_AFTER_END_S):
            await self._reply.receive()
        return None

    async def _fill(self) -> None:
        """Receive until there is a chunk, or the end. What is no chunk, pings say, breaks no silence."""
        patience = self._patience
        patience.begins()
        while not self._ready and not self._reader.is_done:
            try:
                received = await self._reply.receive()
                if received is None:
                    break
                for chunk in self._reader.feed(received):
                    self._ready.append(self._check.take(chunk))
            except LineTooLong as error:
                raise Garbled(f"its stream holds {error}") from error
            except Broken as error:
                if not patience.is_over:
                    raise
                silent_s = patience.limit_s
                raise Silent(
                    f"it fell silent for {silent_s:g} s in the middle of an answer"
                ) from error
        patience.pauses()

    async def aclose(self) -> None:
        self._patience.ends()
        self._reply.close()
