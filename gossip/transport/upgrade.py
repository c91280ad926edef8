"""From a TCP socket to an authenticated, multiplexed connection.

Multistream-select to /noise, the handshake, multistream-select to /yamux/1.0.0: in both roles
nothing else is ever offered or accepted, so that an identity can't be claimed without its key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from gossip.identity import NodeId
from gossip.transport import multistream
from gossip.transport.repairs import Identity, SecureChannel

_NOISE = "/noise"
_YAMUX = "/yamux/1.0.0"
_READ_BYTES = 16 * 2**10


class _Layer:
    """A byte stream with a buffer, over anything that receives and sends pieces."""

    def __init__(
        self,
        receive: Callable[[], Awaitable[bytes]],
        send: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self._receive = receive
        self._send = send
        self.waiting = bytearray()

    async def read_some(self) -> bytes:
        """What waits, or else the next piece."""
        data = bytes(self.waiting) or await self._receive()
        self.waiting.clear()
        if not data:
            raise ConnectionError("it closed the connection")
        return data

    async def write(self, data: bytes) -> None:
        await self._send(data)

    async def read_exactly(self, size_bytes: int) -> bytes:
        while len(self.waiting) < size_bytes:
            piece = await self._receive()
            if not piece:
                raise ConnectionError("it closed the connection")
            self.waiting += piece
        data = bytes(self.waiting[:size_bytes])
        del self.waiting[:size_bytes]
        return data

    async def read(self, n: int | None = None) -> bytes:
        """The name and shape under which the library's handshake knows `read_exactly`."""
        assert n is not None
        return await self.read_exactly(n)


@dataclass(frozen=True, slots=True)
class Upgraded:
    """Who is there, the channel to it, and the plain bytes that came early."""

    peer: NodeId
    channel: SecureChannel
    early: bytes


async def upgrade(socket: trio.SocketStream, identity: Identity, *, outbound: bool) -> Upgraded:
    """Do the whole negotiation.

    Raises `ConnectionError`, `multistream.NegotiationError` or `repairs.HandshakeError`; the caller
    sets the time limit and closes the socket.
    """

    async def receive() -> bytes:
        try:
            return bytes(await socket.receive_some(_READ_BYTES))
        except trio.BrokenResourceError as error:
            raise ConnectionError("the connection was cut") from error

    async def send(data: bytes) -> None:
        try:
            await socket.send_all(data)
        except trio.BrokenResourceError as error:
            raise ConnectionError("the connection was cut") from error

    raw = _Layer(receive, send)
    await _agree(raw, _NOISE, outbound=outbound)
    secured = await identity.handshake(raw, outbound=outbound)
    channel = secured.channel

    async def receive_sealed() -> bytes:
        # A piece may hold no complete packet yet.
        while not (data := channel.open(await raw.read_some())):
            pass
        return data

    async def send_sealed(data: bytes) -> None:
        await send(channel.seal(data))

    plain = _Layer(receive_sealed, send_sealed)
    await _agree(plain, _YAMUX, outbound=outbound)
    return Upgraded(secured.peer, channel, bytes(plain.waiting))


async def _agree(layer: _Layer, protocol: str, *, outbound: bool) -> None:
    if outbound:
        await multistream.select(layer, protocol)
    else:
        await multistream.accept(layer, (protocol,))
