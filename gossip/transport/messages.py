"""Messages on a multiplexed stream: the `Stream` that handlers and callers see."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

import trio

from gossip.identity import NodeId
from gossip.transport import StreamError
from gossip.transport.framing import FrameDecoder, encode_frame
from gossip.transport.muxer import MuxStream

_READ_BYTES = 64 * 2**10
_CHANNEL = 0


class MessageStream:
    """See `gossip.transport.Stream`. `max_message_bytes` is asked for each message."""

    def __init__(self, stream: MuxStream, max_message_bytes: Callable[[], int]) -> None:
        self._stream = stream
        self._max_message_bytes = max_message_bytes
        self._decoder = FrameDecoder()
        self._arrived: deque[bytes] = deque()

    @property
    def peer(self) -> NodeId:
        """See `Stream.peer`."""
        return self._stream.connection.peer

    async def send(self, message: bytes) -> None:
        """See `Stream.send`."""
        bound_bytes = self._max_message_bytes()
        if len(message) > bound_bytes:
            raise StreamError(f"a message of {len(message)} bytes, more than {bound_bytes}")
        try:
            await self._stream.write(encode_frame(_CHANNEL, message))
        except ConnectionError as error:
            raise StreamError(str(error)) from error
        except trio.Cancelled:
            self._stream.reset()
            raise

    async def receive(self) -> bytes | None:
        """See `Stream.receive`."""
        while not self._arrived:
            if self._decoder.fault is not None:
                self._stream.reset()
                raise StreamError(f"the other side sent {self._decoder.fault}")
            try:
                data = await self._stream.read_some(_READ_BYTES)
            except ConnectionError as error:
                raise StreamError(str(error)) from error
            if not data:
                if self._decoder.buffered_bytes:
                    raise StreamError("the stream ended in the middle of a message")
                return None
            frames = self._decoder.feed(data, self._max_message_bytes())
            self._arrived.extend(payload for _, payload in frames)
            self._stream.kept_bytes = self._decoder.buffered_bytes + sum(map(len, self._arrived))
        message = self._arrived.popleft()
        self._stream.kept_bytes -= len(message)
        return message

    async def close(self) -> None:
        """See `Stream.close`."""
        self._stream.end_write()

    async def reset(self) -> None:
        """See `Stream.reset`."""
        self._stream.reset()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._stream.end_write()
        # After a proper end the other side keeps what it hasn't read yet.
        self._stream.reset()
