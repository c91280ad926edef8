"""Frames on a byte stream."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossip.transport.framing import HEADER_BYTES, MAX_CHANNEL, FrameDecoder, encode_frame

MAX_BYTES = 200
frames = st.lists(st.tuples(st.integers(0, MAX_CHANNEL), st.binary(max_size=MAX_BYTES)))


@given(frames, st.data())
def test_frames_survive_any_cutting(sent: list[tuple[int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(channel, payload) for channel, payload in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    decoder = FrameDecoder()
    received = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += decoder.feed(stream[start:end], MAX_BYTES)
        assert decoder.buffered_bytes < HEADER_BYTES + MAX_BYTES
    assert received == sent
    assert decoder.buffered_bytes == 0
    assert decoder.fault is None


@given(st.binary(max_size=2000), st.integers(0, 50), st.integers(1, 40))
def test_garbage_never_raises_and_never_piles_up(garbage: bytes, bound: int, step: int) -> None:
    decoder = FrameDecoder()
    for start in range(0, len(garbage), step):
        for _, payload in decoder.feed(garbage[start : start + step], bound):
            assert len(payload) <= bound
        assert decoder.buffered_bytes < HEADER_BYTES + bound


def test_the_bound_is_checked_before_the_payload_is_kept() -> None:
    decoder = FrameDecoder()
    header = (MAX_BYTES + 1).to_bytes(4) + b"\x00"
    assert decoder.feed(encode_frame(7, b"good") + header, MAX_BYTES) == [(7, b"good")]
    assert decoder.fault == "a frame of 201 bytes, more than 200"
    assert decoder.feed(b"x" * 100, MAX_BYTES) == []
    assert decoder.buffered_bytes == 0


def test_a_frame_of_exactly_the_bound_passes() -> None:
    assert FrameDecoder().feed(encode_frame(0, bytes(MAX_BYTES)), MAX_BYTES) == [
        (0, bytes(MAX_BYTES))
    ]
