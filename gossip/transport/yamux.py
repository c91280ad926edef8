"""Yamux, the stream multiplexer, as a pure state machine: bytes in, events and bytes out.

py-libp2p's own muxer takes sixteen locks a message, counts a peer's overdrawn window and lets it
pass (200 MB into a handler that doesn't read are kept in memory), cuts a frame when a cancel scope
fires in a write, and waits for ever for its 257th stream. It is replaced, not patched: this is the
same protocol, with every buffer bounded.

* A peer that sends more than its window, or breaks a rule, ends the session: `Ended` with the
  reason.
* What waits to be written is bounded: `write` takes what fits and says how much that was. Answers
  that a peer provokes (pings, resets) and does not read end the session, too.
* The windows are those of the specification, 256 KiB a stream, given back when half of one was
  read. Who opens a stream to fetch much may grant a wider one for what comes back.

Source: hashicorp/yamux spec.md, and libp2p's specs/yamux, which keeps its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

_HEADER = struct.Struct("!BBHII")
_VERSION = 0
INITIAL_WINDOW_BYTES = 256 * 2**10
_MAX_SEND_WINDOW_BYTES = 2**31
MAX_DATA_BYTES = 65_519 - _HEADER.size
"""Of one data frame, so that it fills one Noise message with its header."""

GOODBYE = "it said goodbye"

_OUTGOING_ROOM_BYTES = 512 * 2**10
_OUTGOING_LIMIT_BYTES = 2 * _OUTGOING_ROOM_BYTES


class _Type(IntEnum):
    DATA = 0
    WINDOW_UPDATE = 1
    PING = 2
    GO_AWAY = 3


class _Flag(IntFlag):
    NONE = 0
    SYN = 1
    ACK = 2
    FIN = 4
    RST = 8


# Plain integers for the path that every frame takes; IntFlag's operators cost a microsecond each.
_SYN, _ACK, _FIN, _RST = (int(flag) for flag in (_Flag.SYN, _Flag.ACK, _Flag.FIN, _Flag.RST))
_DATA, _WINDOW_UPDATE, _PING, _GO_AWAY = (int(kind) for kind in _Type)


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer has opened a stream."""

    stream: Flow


@dataclass(frozen=True, slots=True)
class Changed:
    """A stream has more to read, more room to write, or has ended."""

    stream: Flow


@dataclass(frozen=True, slots=True)
class Ponged:
    """The peer has answered our ping of this value."""

    value: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over; nothing can be sent or received any more."""

    reason: str


Event = Opened | Changed | Ponged | Ended


@dataclass(slots=True, eq=False)
class Flow:
    """One stream's windows and bytes. To be changed by its `Session` only."""

    id: int
    inbound: bool
    send_window_bytes: int = INITIAL_WINDOW_BYTES
    receive_window_bytes: int = INITIAL_WINDOW_BYTES
    window_bytes: int = INITIAL_WINDOW_BYTES
    received: bytearray = field(default_factory=bytearray)
    uncredited_bytes: int = 0
    acknowledged: bool = True
    read_ended: bool = False
    write_ended: bool = False
    was_reset: bool = False

    @property
    def over(self) -> bool:
        """Nothing will be sent or received any more, though received bytes may still be read."""
        return self.was_reset or (self.read_ended and self.write_ended)


class Session:
    """One end of a connection. The dialer's streams are odd, the listener's even."""

    def __init__(self, *, dialer: bool, max_inbound_streams: Callable[[], int]) -> None:
        self._max_inbound_streams = max_inbound_streams
        self._flows: dict[int, Flow] = {}
        self._inbound_streams = 0
        self._next_id = 1 if dialer else 2
        self._peer_parity = 0 if dialer else 1
        self._last_peer_id = 0
        self._incoming = bytearray()
        self._outgoing: list[bytes] = []
        self._outgoing_bytes = 0
        self._ended: str | None = None

    # Getters.

    @property
    def ended(self) -> str | None:
        """Why the session is over, or None while it goes on."""
        return self._ended

    @property
    def streams(self) -> int:
        """How many streams are open, of both sides."""
        return len(self._flows)

    @property
    def outgoing_bytes(self) -> int:
        """How much waits to be written."""
        return self._outgoing_bytes

    @property
    def buffered_bytes(self) -> int:
        """All that was received and not yet read."""
        return len(self._incoming) + sum(len(flow.received) for flow in self._flows.values())

    # Commands.

    def open(self, window_bytes: int = INITIAL_WINDOW_BYTES) -> Flow:
        """Open a stream; the peer needn't have answered before it is written.

        `window_bytes` is how much it may send ahead of our reading.
        """
        assert window_bytes >= INITIAL_WINDOW_BYTES
        flow = Flow(
            self._next_id,
            inbound=False,
            receive_window_bytes=window_bytes,
            window_bytes=window_bytes,
        )
        self._next_id += 2
        self._flows[flow.id] = flow
        self._put(_WINDOW_UPDATE, _SYN, flow.id, window_bytes - INITIAL_WINDOW_BYTES)
        return flow

    def write(self, flow: Flow, data: memoryview) -> int:
        """Take as much of `data` as the peer's window and our buffer allow; return how much."""
        assert not flow.write_ended
        taken_bytes = 0
        while taken_bytes < len(data):
            size_bytes = min(
                len(data) - taken_bytes,
                MAX_DATA_BYTES,
                flow.send_window_bytes,
                _OUTGOING_ROOM_BYTES - self._outgoing_bytes,
            )
            if size_bytes <= 0 or flow.was_reset or self._ended is not None:
                break
            chunk = bytes(data[taken_bytes : taken_bytes + size_bytes])
            flow.send_window_bytes -= size_bytes
            taken_bytes += size_bytes
            self._put(_DATA, 0, flow.id, size_bytes, chunk)
        return taken_bytes

    def read(self, flow: Flow, max_bytes: int) -> bytes:
        """Take what was received, giving its room back to the peer in large steps."""
        data = bytes(flow.received[:max_bytes])
        del flow.received[:max_bytes]
        if flow.read_ended or flow.was_reset:
            return data
        flow.uncredited_bytes += len(data)
        if flow.uncredited_bytes >= flow.window_bytes // 2:
            self._put(_WINDOW_UPDATE, self._ack(flow), flow.id, flow.uncredited_bytes)
            flow.receive_window_bytes += flow.uncredited_bytes
            flow.uncredited_bytes = 0
        return data

    def end_write(self, flow: Flow) -> None:
        """Tell the peer that no more comes."""
        if not (flow.write_ended or flow.was_reset):
            flow.write_ended = True
            self._put(_WINDOW_UPDATE, self._ack(flow) | _FIN, flow.id, 0)
            self._forget_if_over(flow)

    def reset(self, flow: Flow) -> None:
        """Throw the stream away, with what was received."""
        if not flow.over:
            self._put(_WINDOW_UPDATE, self._ack(flow) | _RST, flow.id, 0)
        flow.was_reset = True
        flow.received.clear()
        self._forget_if_over(flow)

    def ping(self, value: int) -> None:
        """Ask for a `Ponged` with this value."""
        self._put(_PING, _SYN, 0, value)

    def abandon(self) -> None:
        """End the session from our side, without a word."""
        if self._ended is None:
            self._ended = "it was abandoned"
            self._end()

    def take_outgoing(self) -> bytes:
        """Everything that waits to be written."""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        self._outgoing_bytes = 0
        return data

    # What the peer sends.

    def feed(self, data: bytes) -> list[Event]:
        """Handle what arrived. Each stream stands at most once among the `Changed`."""
        if self._ended is not None:
            return []
        self._incoming += data
        opened: list[Event] = []
        changed: dict[int, Flow] = {}
        pongs: list[Event] = []
        for kind, flags, stream_id, length, body in self._frames():
            if kind in (_DATA, _WINDOW_UPDATE):
                flow = self._flow_of(flags, stream_id, opened)
                if flow is None:
                    continue
                if kind == _DATA:
                    if flow.read_ended and body:
                        self._ended = "it sent on after the end of a stream"
                        continue
                    flow.receive_window_bytes -= len(body)
                    flow.received += body
                else:
                    flow.send_window_bytes = min(
                        flow.send_window_bytes + length, _MAX_SEND_WINDOW_BYTES
                    )
                self._on_end_flags(flow, flags)
                changed[stream_id] = flow
            elif kind == _PING:
                if flags & _SYN:
                    self._put(_PING, _ACK, 0, length)
                else:
                    pongs.append(Ponged(length))
            else:
                self._ended = GOODBYE
        events = [*opened, *map(Changed, changed.values()), *pongs]
        if self._outgoing_bytes > _OUTGOING_LIMIT_BYTES:
            self._ended = "it asks for more answers than it reads"
        if self._ended is not None:
            events.append(self._end())
        return events

    def _frames(self) -> Iterator[tuple[int, int, int, int, bytes]]:
        """The complete frames; whatever is wrong with a header is noted before its body is kept."""
        start = 0
        with memoryview(self._incoming) as incoming:
            while self._ended is None and len(incoming) - start >= _HEADER.size:
                version, kind, flags, stream_id, length = _HEADER.unpack_from(incoming, start)
                self._ended = self._fault_of(version, kind, stream_id, length)
                if self._ended is not None:
                    break
                end = start + _HEADER.size + (length if kind == _DATA else 0)
                if end > len(incoming):
                    break
                body = bytes(incoming[start + _HEADER.size : end])
                start = end
                yield kind, flags, stream_id, length, body
        del self._incoming[:start]

    def _fault_of(self, version: int, kind: int, stream_id: int, length: int) -> str | None:
        if version != _VERSION or kind > _GO_AWAY:
            return "it doesn't speak Yamux"
        if (kind in (_DATA, _WINDOW_UPDATE)) != (stream_id != 0):
            return "a frame that belongs to no stream"
        if kind == _DATA:
            flow = self._flows.get(stream_id)
            window_bytes = flow.receive_window_bytes if flow else INITIAL_WINDOW_BYTES
            if length > window_bytes:
                return "it sent more than its window allows"
        return None

    def _flow_of(self, flags: int, stream_id: int, opened: list[Event]) -> Flow | None:
        """The stream of a frame; None if it is refused, or gone and the peer late to know."""
        if not flags & _SYN:
            return self._flows.get(stream_id)
        if stream_id % 2 != self._peer_parity or stream_id <= self._last_peer_id:
            self._ended = "it opened a stream with a wrong number"
            return None
        self._last_peer_id = stream_id
        if self._inbound_streams >= self._max_inbound_streams():
            self._put(_WINDOW_UPDATE, _RST, stream_id, 0)
            return None
        flow = Flow(stream_id, inbound=True, acknowledged=False)
        self._flows[stream_id] = flow
        self._inbound_streams += 1
        # At once, not with the first bytes: some dialers bound the streams that are not
        # acknowledged.
        self._put(_WINDOW_UPDATE, self._ack(flow), stream_id, 0)
        opened.append(Opened(flow))
        return flow

    def _on_end_flags(self, flow: Flow, flags: int) -> None:
        if flags & _FIN:
            flow.read_ended = True
        if flags & _RST:
            flow.was_reset = True
            # What was ended properly before the reset is complete, and may still be read.
            if not flow.read_ended:
                flow.received.clear()
        self._forget_if_over(flow)

    def _ack(self, flow: Flow) -> int:
        if flow.acknowledged:
            return 0
        flow.acknowledged = True
        return _ACK

    def _forget_if_over(self, flow: Flow) -> None:
        if flow.over and self._flows.pop(flow.id, None) is not None and flow.inbound:
            self._inbound_streams -= 1

    def _put(self, kind: int, flags: int, stream_id: int, length: int, body: bytes = b"") -> None:
        self._outgoing.append(_HEADER.pack(_VERSION, kind, flags, stream_id, length) + body)
        self._outgoing_bytes += _HEADER.size + len(body)

    def _end(self) -> Ended:
        assert self._ended is not None
        for flow in self._flows.values():
            flow.was_reset = True
        self._flows.clear()
        self._inbound_streams = 0
        self._incoming.clear()
        return Ended(self._ended)

    def check_invariants(self) -> None:
        """Assert what must hold between calls."""
        assert self._inbound_streams == sum(flow.inbound for flow in self._flows.values())
        for flow in self._flows.values():
            assert not flow.over
            assert flow.send_window_bytes >= 0
            promised_bytes = flow.receive_window_bytes + flow.uncredited_bytes
            assert flow.read_ended or len(flow.received) + promised_bytes == flow.window_bytes
