"""The stream multiplexer, two ends of it face to face without a network."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossip.transport.yamux import (
    INITIAL_WINDOW_BYTES,
    Changed,
    Ended,
    Event,
    Flow,
    Opened,
    Ponged,
    Session,
)

DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8


def header(kind: int, flags: int, stream_id: int, length: int, version: int = 0) -> bytes:
    return struct.pack("!BBHII", version, kind, flags, stream_id, length)


@dataclass
class Pair:
    """A dialer and a listener; `deliver` carries everything both ways until nothing moves."""

    dialer: Session = field(default_factory=lambda: Session(dialer=True, max_inbound_streams=_few))
    listener: Session = field(
        default_factory=lambda: Session(dialer=False, max_inbound_streams=_few)
    )
    at_dialer: list[Event] = field(default_factory=list)
    at_listener: list[Event] = field(default_factory=list)

    def deliver(self) -> None:
        while self.dialer.outgoing_bytes or self.listener.outgoing_bytes:
            self.at_listener += self.listener.feed(self.dialer.take_outgoing())
            self.at_dialer += self.dialer.feed(self.listener.take_outgoing())
            self.dialer.check_invariants()
            self.listener.check_invariants()

    def open(self) -> tuple[Flow, Flow]:
        """A stream of the dialer, as both see it."""
        ours = self.dialer.open()
        self.deliver()
        (theirs,) = [e.stream for e in self.at_listener if isinstance(e, Opened)][-1:]
        return ours, theirs


def _few() -> int:
    return 8


def write(session: Session, flow: Flow, data: bytes) -> int:
    return session.write(flow, memoryview(data))


def test_data_flows_both_ways_on_one_stream() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    write(pair.dialer, ours, b"question")
    pair.deliver()
    assert pair.listener.read(theirs, 100) == b"question"
    write(pair.listener, theirs, b"answer")
    pair.deliver()
    assert Changed(ours) in pair.at_dialer
    assert pair.dialer.read(ours, 3) + pair.dialer.read(ours, 100) == b"answer"


def test_a_writer_is_stopped_by_the_window_until_the_reader_has_read_half_of_it() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    written = 0
    for _ in range(100):
        written += write(pair.dialer, ours, bytes(INITIAL_WINDOW_BYTES))
        pair.deliver()
    assert written == len(theirs.received) == INITIAL_WINDOW_BYTES
    pair.listener.read(theirs, INITIAL_WINDOW_BYTES // 2 - 1)
    assert pair.listener.outgoing_bytes == 0
    pair.listener.read(theirs, 1)
    pair.deliver()
    assert ours.send_window_bytes == INITIAL_WINDOW_BYTES // 2


def test_what_waits_to_be_written_is_bounded_over_all_streams() -> None:
    pair = Pair()
    flows = [pair.open()[0] for _ in range(8)]
    taken = sum(write(pair.dialer, flow, bytes(INITIAL_WINDOW_BYTES)) for flow in flows)
    assert 0 < taken < pair.dialer.outgoing_bytes + 1 <= 513 * 2**10


def test_both_ends_forget_a_stream_that_both_have_ended() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    write(pair.dialer, ours, b"last words")
    pair.dialer.end_write(ours)
    pair.deliver()
    assert theirs.read_ended
    pair.listener.end_write(theirs)
    pair.deliver()
    assert pair.dialer.streams == pair.listener.streams == 0
    assert pair.listener.read(theirs, 100) == b"last words"


def test_what_was_ended_properly_is_readable_after_a_reset() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    write(pair.listener, theirs, b"answer")
    pair.listener.end_write(theirs)
    pair.listener.reset(theirs)
    pair.deliver()
    assert ours.was_reset
    assert pair.dialer.read(ours, 100) == b"answer"


def test_what_was_cut_by_a_reset_is_thrown_away() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    write(pair.dialer, ours, b"half a mess")
    pair.dialer.reset(ours)
    pair.deliver()
    assert theirs.was_reset
    assert theirs.received == b""
    assert pair.listener.streams == 0


def test_a_stream_too_many_is_reset_and_the_others_live() -> None:
    pair = Pair()
    ours = [pair.dialer.open() for _ in range(10)]
    pair.deliver()
    assert [flow.was_reset for flow in ours] == [False] * 8 + [True] * 2
    assert sum(isinstance(event, Opened) for event in pair.at_listener) == 8


def test_a_ping_is_answered_with_its_value() -> None:
    pair = Pair()
    pair.dialer.ping(77)
    pair.deliver()
    assert pair.at_dialer == [Ponged(77)]


OPENING = header(WINDOW, SYN, 1, 0)


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (header(DATA, 0, 1, 0, version=1), "it doesn't speak Yamux"),
        (header(4, 0, 0, 0), "it doesn't speak Yamux"),
        (b"GET / HTTP/1.1\r\n\r\n", "it doesn't speak Yamux"),
        (header(DATA, SYN, 0, 0), "a frame that belongs to no stream"),
        (header(PING, SYN, 3, 0), "a frame that belongs to no stream"),
        (header(GO_AWAY, 0, 0, 0), "it said goodbye"),
        (header(WINDOW, SYN, 2, 0), "it opened a stream with a wrong number"),
        (OPENING + OPENING, "it opened a stream with a wrong number"),
        (
            OPENING + header(DATA, 0, 1, INITIAL_WINDOW_BYTES + 1),
            "it sent more than its window allows",
        ),
        (header(DATA, 0, 9, INITIAL_WINDOW_BYTES + 1), "it sent more than its window allows"),
        (
            OPENING + header(DATA, FIN, 1, 0) + header(DATA, 0, 1, 1) + b"x",
            "it sent on after the end of a stream",
        ),
        (header(PING, SYN, 0, 1) * 100_000, "it asks for more answers than it reads"),
    ],
)
def test_a_broken_rule_ends_the_session(wire: bytes, reason: str) -> None:
    session = Session(dialer=False, max_inbound_streams=_few)
    assert session.feed(wire)[-1] == Ended(reason)
    assert session.ended == reason
    assert session.feed(b"more") == []
    assert session.buffered_bytes == 0


def test_a_window_that_is_overdrawn_in_small_steps_ends_the_session() -> None:
    session = Session(dialer=False, max_inbound_streams=_few)
    session.feed(OPENING)
    step = header(DATA, 0, 1, 2**14) + bytes(2**14)
    endings = [session.feed(step) for _ in range(INITIAL_WINDOW_BYTES // 2**14 + 1)]
    assert [bool(events and isinstance(events[-1], Ended)) for events in endings].index(True) == 16


def test_frames_for_a_stream_that_we_have_forgotten_are_skipped() -> None:
    session = Session(dialer=False, max_inbound_streams=_few)
    (opened, _) = session.feed(OPENING)
    assert isinstance(opened, Opened)
    session.reset(opened.stream)
    late = header(DATA, 0, 1, 5) + b"still"
    assert session.feed(late + header(WINDOW, SYN, 3, 0))[0] == Opened(
        next(iter(session._flows.values()))
    )


def test_a_window_update_never_overflows() -> None:
    pair = Pair()
    ours, _ = pair.open()
    for _ in range(3):
        pair.dialer.feed(header(WINDOW, 0, ours.id, 2**32 - 1))
    assert ours.send_window_bytes == 2**31


@given(st.binary(max_size=500), st.integers(1, 50))
def test_garbage_never_raises(garbage: bytes, step: int) -> None:
    session = Session(dialer=False, max_inbound_streams=_few)
    for start in range(0, len(garbage), step):
        session.feed(garbage[start : start + step])
        session.check_invariants()


@given(
    st.lists(
        st.builds(
            header,
            st.integers(0, 3),
            st.integers(0, 15),
            st.integers(0, 6),
            st.integers(0, 40),
        ).map(lambda frame: frame + bytes(frame[-1] if frame[1] == DATA else 0)),
        max_size=40,
    )
)
@example([header(WINDOW, SYN, 1, 0), header(DATA, 0, 0, 0)])
def test_any_sequence_of_well_formed_frames_keeps_the_invariants(frames: list[bytes]) -> None:
    session = Session(dialer=False, max_inbound_streams=lambda: 2)
    for frame in frames:
        session.feed(frame)
        session.check_invariants()
        assert session.streams <= 2


@settings(deadline=None)
@given(st.data())
def test_bytes_arrive_in_order_whatever_the_pace(data: st.DataObject) -> None:
    pair = Pair()
    streams = [pair.open() for _ in range(2)]
    sent = [bytearray(), bytearray()]
    received = [bytearray(), bytearray()]
    for _ in range(data.draw(st.integers(1, 30))):
        index = data.draw(st.integers(0, 1))
        ours, theirs = streams[index]
        match data.draw(st.sampled_from(["write", "read", "deliver"])):
            case "write":
                size = data.draw(st.integers(1, 200_000))
                payload = bytes([len(sent[index]) % 251]) * size
                sent[index] += payload[: write(pair.dialer, ours, payload)]
            case "read":
                received[index] += pair.listener.read(theirs, data.draw(st.integers(1, 300_000)))
            case _:
                pair.deliver()
    pair.deliver()
    for index, (_, theirs) in enumerate(streams):
        received[index] += pair.listener.read(theirs, 2**20)
    assert received == sent
