"""One connection: a TCP socket, the Noise channel on it, and a Yamux session in that.

Three tasks of its own serve it: one reads the socket, one writes to it whatever waits, and one
pings. A caller who is cancelled, or gives up on a stream, never leaves half a packet behind; and a
peer that takes nothing holds up nobody but itself.

What is to be sent while the writer is idle goes to the socket at once, as far as that takes it, and
the writer sends the rest: small messages then cost neither a change of tasks nor a deadline.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from gossip.identity import NodeId
from gossip.transport import yamux
from gossip.transport.address import Address
from gossip.transport.repairs import SecureChannel

_READ_BYTES = 128 * 2**10
_MEASURED_EVERY = 8
"""So many ticks of `ping_every_s` pass between two measurements of a peer that speaks by itself."""

_LAST_WORDS_S = 0.1
"""How long what came before the end of a connection may wait to be read."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a silent or slow peer is borne. A freeze is noticed after `ping_misses` pings.

    A node with more than `few_connections` asks each of them more rarely, down to once in `ping_rarely_s`, so that all
    together cost less than those few: who of many members is gone, membership notices sooner, and ends the connection.
    `connect_s`
    is for the first answer of the other host: a packet lost on a cut network is not sent again soon enough.
    """

    ping_every_s: float = 2.0
    ping_rarely_s: float = 30.0
    ping_misses: int = 3
    few_connections: int = 8
    write_s: float = 10.0
    negotiate_s: float = 5.0
    connect_s: float = 3.0
    dial_s: float = 10.0

    def pace_s(self, connections: int) -> float:
        """The time between two pings of one of so many connections."""
        crowding = max(1.0, connections / self.few_connections)
        return min(self.ping_every_s * crowding**2, max(self.ping_every_s, self.ping_rarely_s))


class MuxStream:
    """One stream of a connection: bytes in order, both ways, held back by the reader's window.

    Reading and writing raise `ConnectionError` when the stream is reset or the connection lost.
    """

    def __init__(self, connection: Connection, flow: yamux.Flow) -> None:
        self.connection = connection
        self.flow = flow
        self.kept_bytes = 0
        """What its reader has taken and keeps until a message is whole, or wanted."""
        self._changed = trio.lowlevel.ParkingLot()
        self._take: Callable[[bytes], bool] | None = None
        """Who gets what arrives on the spot; nothing that has arrived waits then."""
        self._handing = trio.lowlevel.ParkingLot()
        self._is_declined = False

    def wake(self) -> None:
        """Have waiting readers and writers look again."""
        if self._changed:
            self._changed.unpark_all()
        if self._take is not None and not self._pass_on(self._take):
            self._handing.unpark_all()

    async def hand_over(self, take: Callable[[bytes], bool]) -> bool:
        """Give `take` what arrives until it wants no more: then True. False at the end of the stream.

        It is called in the task that reads the socket, so a message costs no change of tasks; it must not raise.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._is_declined = False
        while self._pass_on(take):
            self._take = take
            try:
                await self._handing.park()
            finally:
                self._take = None
        if not self._is_declined and not self.flow.read_ended:
            raise ConnectionError(self.connection.reason or "the stream was reset")
        return self._is_declined

    def _pass_on(self, take: Callable[[bytes], bool]) -> bool:
        """Whether more may come."""
        while self.flow.received and not self._is_declined:
            if not take(self._read(_READ_BYTES)):
                self._is_declined, self._take = True, None
        return not (self._is_declined or self.flow.read_ended or self.flow.was_reset)

    async def read_some(self, max_bytes: int) -> bytes:
        """What has arrived, at least one byte; b"" at the end."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self.flow.received:
            if self.flow.read_ended:
                return b""
            if self.flow.was_reset:
                raise ConnectionError(self.connection.reason or "the stream was reset")
            await self._changed.park()
        return self._read(max_bytes)

    def _read(self, max_bytes: int) -> bytes:
        data = self.connection.session.read(self.flow, max_bytes)
        if self.flow.was_reset:
            self.connection.reading.unpark_all()
        self.connection.flush()
        return data

    async def read_exactly(self, size_bytes: int) -> bytes:
        """Raises `ConnectionError` if the stream ends before."""
        data = bytearray()
        while len(data) < size_bytes:
            more = await self.read_some(size_bytes - len(data))
            if not more:
                raise ConnectionError("the stream ended too early")
            data += more
        return bytes(data)

    def has_room(self, size_bytes: int) -> bool:
        """Whether `write_now` may be called with so much."""
        flow = self.flow
        is_open = not (flow.was_reset or flow.write_ended)
        return is_open and flow.send_window_bytes >= size_bytes and self.connection.is_idle

    def write_now(self, data: bytes) -> None:
        """Have all of `data` on its way at once; only if there is room."""
        taken_bytes = self.connection.session.write(self.flow, memoryview(data))
        assert taken_bytes == len(data), "there was no room"
        self.connection.flush()

    async def write(self, data: bytes) -> None:
        """Return when all of `data` is on its way. A cancelled caller may have written a part."""
        await trio.lowlevel.checkpoint_if_cancelled()
        rest = memoryview(data)
        while True:
            if self.flow.was_reset or self.flow.write_ended:
                raise ConnectionError(self.connection.reason or "the stream was reset")
            rest = rest[self.connection.session.write(self.flow, rest) :]
            self.connection.flush()
            if not rest:
                break
            if self.flow.send_window_bytes:
                await self.connection.drained()
            else:
                await self._changed.park()

    def end_write(self) -> None:
        """Say that nothing more comes."""
        self.connection.session.end_write(self.flow)
        self.connection.flush()
        if self.flow.over:
            self.connection.forget(self)

    def reset(self) -> None:
        """Throw it away, in both directions."""
        self.connection.session.reset(self.flow)
        self.connection.flush()
        self.connection.forget(self)
        self.wake()


class Connection:
    """An authenticated connection to `peer`, from its making until `close`, which tells `on_close`."""

    def __init__(
        self,
        socket: trio.SocketStream,
        peer: NodeId,
        channel: SecureChannel,
        session: yamux.Session,
        *,
        outbound: bool,
        patience: Patience,
        crowd: Callable[[], int],
        on_close: Callable[[Connection], None],
    ) -> None:
        """`crowd` tells how many connections this node has."""
        name = socket.socket.getpeername()
        self.address = Address.of_socket(name[:2]).with_peer(peer)
        self.peer = peer
        self.outbound = outbound
        self.session = session
        self.reason: str | None = None
        self.is_broken = False
        """Whether it ended because the peer broke a rule of Noise, Yamux or framing."""
        self.round_trip_s: float | None = None
        self._socket = socket
        self._channel = channel
        self._patience = patience
        self._crowd = crowd
        self._on_close = on_close
        self.reading = trio.lowlevel.ParkingLot()
        """Woken when something is read of a stream that is over."""
        self._streams: dict[int, MuxStream] = {}
        self._outgoing = trio.lowlevel.ParkingLot()
        self._unsent = b""
        """Sealed already: what the socket did not take at once."""
        self._is_idle = False
        self._drained = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery | None = None
        self._heard = False
        self._pings = 0
        self._ping_sent_at = 0.0
        self._hearing = trio.lowlevel.ParkingLot()

    @property
    def is_closed(self) -> bool:
        """Whether it has ended, for the reason in `reason`."""
        return self.reason is not None

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be written, and what comes goes to the socket on the spot."""
        return self._is_idle and self.reason is None and not self.session.outgoing_bytes

    @property
    def unread_bytes(self) -> int:
        """What has come and waits here: packets cut in two, and what readers of streams have not taken or not used."""
        kept_bytes = sum(stream.kept_bytes for stream in self._streams.values())
        return self._channel.buffered_bytes + self.session.buffered_bytes + kept_bytes

    @property
    def unsent_bytes(self) -> int:
        """What was written to streams and the socket has not taken."""
        return self.session.outgoing_bytes + len(self._unsent)

    async def run(
        self,
        early: bytes,
        on_stream: Callable[[MuxStream], Awaitable[None]],
    ) -> None:
        """Serve until closed. `early` is what came in behind the negotiation; raises nothing."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._on_stream = on_stream
                if self.reason is not None:
                    return
                nursery.start_soon(self._read, early)
                nursery.start_soon(self._write)
                nursery.start_soon(self._watch)
        finally:
            self.close("this node stops")
            await trio.aclose_forcefully(self._socket)

    def spawn(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a task that is cancelled when the connection ends. It mustn't raise."""
        if self._nursery is not None and self.reason is None:
            self._nursery.start_soon(task, *args)

    def close(self, reason: str) -> None:
        """End it at once, whatever state the peer is in. The first reason stays."""
        if self.reason is not None:
            return
        self.reason = reason
        self.session.abandon()
        for stream in self._streams.values():
            stream.wake()
        self._streams.clear()
        self._drained.unpark_all()
        self._hearing.unpark_all()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        self._on_close(self)

    def open(self, window_bytes: int = yamux.INITIAL_WINDOW_BYTES) -> MuxStream:
        """Open a stream. Raises `ConnectionError` when the connection is over."""
        over = self.reason or self.session.ended
        if over is not None:
            raise ConnectionError(over)
        stream = MuxStream(self, self.session.open(window_bytes))
        self._streams[stream.flow.id] = stream
        self.flush()
        return stream

    def forget(self, stream: MuxStream) -> None:
        """Drop what is kept of a stream that is over."""
        self._streams.pop(stream.flow.id, None)

    def flush(self) -> None:
        """Have what waits written."""
        if self._is_idle and self.session.outgoing_bytes:
            self._send_at_once()

    def _send_at_once(self) -> None:
        sealed = self._channel.seal(self.session.take_outgoing())
        try:
            sent_bytes = os.write(self._socket.socket.fileno(), sealed)
        except OSError:
            # Full, or broken: the writer finds out which.
            sent_bytes = 0
        self._unsent = sealed[sent_bytes:]
        if self._unsent:
            self._is_idle = False
            self._outgoing.unpark()
        elif self._drained:
            self._drained.unpark_all()

    async def drained(self) -> None:
        """Wait until a batch was written, or the connection is over."""
        if self._is_idle:
            # `flush` has written all of it on the spot, and nobody will tell of that again.
            await trio.lowlevel.checkpoint()
        elif self.reason is None:
            await self._drained.park()

    async def flushed(self) -> None:
        """Wait until the socket has taken all that waits, or the connection is over."""
        while self.reason is None and not (self._is_idle and not self.session.outgoing_bytes):
            await self.drained()

    async def answers(self, within_s: float) -> bool:
        """Whether anything comes from the peer in time, if only the answer to a ping."""
        self._send_ping()
        with trio.move_on_after(within_s) as limit:
            await self._hearing.park()
        return not (limit.cancelled_caught or self.is_closed)

    async def _read(self, data: bytes) -> None:
        try:
            while self.reason is None:
                self._dispatch(self.session.feed(data))
                self.flush()
                sealed = await self._receive()
                if not sealed:
                    await self._read_out()
                    self.close("it closed the connection")
                    return
                self._heard = True
                if self._hearing:
                    self._hearing.unpark_all()
                data = self._channel.open(sealed)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.close("the connection was cut")
        except ConnectionError as error:
            self._break(str(error))

    def _break(self, reason: str) -> None:
        if self.reason is None:
            self.is_broken = True
        self.close(reason)

    async def _read_out(self) -> None:
        """The other side has ended: what it said last is read before its readers are stopped."""
        self.session.abandon()
        with trio.move_on_after(_LAST_WORDS_S):
            while any(stream.flow.received for stream in self._streams.values()):
                await self.reading.park()

    async def _receive(self) -> bytes:
        """What has arrived; b"" at the end."""
        await trio.lowlevel.wait_readable(self._socket.socket.fileno())
        try:
            return os.read(self._socket.socket.fileno(), _READ_BYTES)
        except BlockingIOError:
            return await self._socket.receive_some(_READ_BYTES)
        except OSError:
            raise trio.BrokenResourceError from None

    def _dispatch(self, events: list[yamux.Event]) -> None:
        for event in events:
            match event:
                case yamux.Changed(flow):
                    stream = self._streams.get(flow.id)
                    if stream is not None:
                        stream.wake()
                        if flow.over:
                            self.forget(stream)
                case yamux.Opened(flow):
                    stream = MuxStream(self, flow)
                    self._streams[flow.id] = stream
                    self.spawn(self._on_stream, stream)
                case yamux.Ponged(value):
                    if value == self._pings:
                        self.round_trip_s = trio.current_time() - self._ping_sent_at
                case yamux.Ended(yamux.GOODBYE):
                    self.close(yamux.GOODBYE)
                case yamux.Ended(reason):
                    self._break(reason)

    async def _write(self) -> None:
        try:
            while True:
                sealed, self._unsent = self._unsent, b""
                if not sealed:
                    data = self.session.take_outgoing()
                    if not data:
                        await self._rest()
                        continue
                    sealed = self._channel.seal(data)
                with trio.move_on_after(self._patience.write_s) as limit:
                    await self._socket.send_all(sealed)
                if limit.cancelled_caught:
                    # Half a packet has left, and nothing can follow it.
                    self.close(f"it took no data for {self._patience.write_s:g} s")
                    return
                self._drained.unpark_all()
        except trio.BrokenResourceError:
            self.close("the connection was cut")

    async def _rest(self) -> None:
        """Leave the socket to `flush` until it takes no more."""
        self._is_idle = True
        try:
            await self._outgoing.park()
        finally:
            self._is_idle = False

    async def _watch(self) -> None:
        """Ask whether the peer is there when it was silent, and now and then to know the way's length."""
        misses, was_heard, silent_s = 0, False, 0.0
        for tick in itertools.count():
            asks = not was_heard or tick % _MEASURED_EVERY == 0
            self._heard = False
            if asks:
                self._send_ping()
            pace_s = self._patience.pace_s(self._crowd())
            await trio.sleep(pace_s)
            # Ticks are counted, not seconds: after a pause of our own process one tick has passed.
            was_heard = self._heard
            misses = 0 if was_heard else misses + asks
            silent_s = 0.0 if was_heard else silent_s + pace_s
            if misses >= self._patience.ping_misses:
                break
        self.close(f"it was silent for {silent_s:g} s")

    def _send_ping(self) -> None:
        self._pings = (self._pings + 1) % 2**32
        self._ping_sent_at = trio.current_time()
        self.session.ping(self._pings)
        self.flush()
