"""Bytes of real messages, damaged at will: the decoder says no or yields a message; an engine survives any of it."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.consensus.fuzz_messages import fill, heard, judge, seeds, take


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real message with bytes changed, cut, put in, or a piece of another one."""
    raw = bytearray(draw(st.sampled_from(seeds())))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        match draw(st.sampled_from(("set", "cut", "put", "splice"))):
            case "set" if raw:
                raw[at] = draw(st.integers(0, 255))
            case "cut":
                del raw[at : at + draw(st.integers(1, 40))]
            case "put":
                raw[at:at] = draw(st.binary(max_size=8))
            case _:
                other = draw(st.sampled_from(seeds()))
                raw[at:] = other[draw(st.integers(0, len(other) - 1)) :]
    return bytes(raw)


def test_the_seeds_are_of_every_kind_that_matters() -> None:
    kinds = {kind.__name__ for kind in heard().said}
    assert kinds >= {
        *("Proposal", "Vote", "StateVote", "Suspect", "ViewChange", "NewView"),
        *("Status", "FetchBlocks", "Blocks", "Transactions"),
    }


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(damaged(), st.integers(0, 3))
def test_no_bytes_from_a_peer_raise_or_change_what_was_decided(raw: bytes, source: int) -> None:
    judge(raw, source)


def test_real_messages_are_the_seeds_of_the_guided_fuzzer_and_bear_judgement(
    tmp_path: Path,
) -> None:
    fill(tmp_path)
    found = [one.read_bytes() for one in tmp_path.iterdir()]
    assert len(found) == len(seeds())
    for data in (*found, b"", b"\x01"):
        take(data)
