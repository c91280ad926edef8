"""Bytes of real messages, damaged at will: the decoder says no or yields a message; an engine survives any of it."""

from __future__ import annotations

from functools import cache

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consensus.engine import Received
from consensus.messages import ConsensusMessage
from gossip.codec import DecodeError, decode, encode
from gossip.effects import Persist, Rejected
from gossip.identity import NodeId
from tests.consensus.story import Actor, Story

MAX_REASON = 300


class Heard(Story):
    """A story that keeps what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[type, dict[bytes, None]] = {}

    def post(self, actor: Actor, to: tuple[NodeId, ...], message: object) -> None:
        raw = encode(message)
        said: object = decode(raw, ConsensusMessage)  # type: ignore[arg-type]
        self.said.setdefault(type(said), {})[raw] = None
        super().post(actor, to, message)


@cache
def heard() -> Heard:
    """Four validators that have decided blocks, lost their leader, changed the view, and caught up."""
    story = Heard()
    for command in (
        "nodes 1 1 1 1",
        "submit 1",
        "wait 500",
        "crash 0",
        "submit 2",
        "wait 9000",
        "restart 0",
        "wait 3000",
    ):
        story.play(command)
    return story


@cache
def seeds() -> tuple[bytes, ...]:
    return tuple(raw for found in heard().said.values() for raw in list(found)[:8])


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
    story = heard()
    victim = story.actors[3]
    engine = victim.engine
    assert engine is not None
    try:
        message: ConsensusMessage = decode(raw, ConsensusMessage)  # type: ignore[arg-type]
    except DecodeError:
        return
    before = [engine.chain.block(height) for height in range(1, engine.height + 1)]
    effects = engine.handle(story.now_ms, Received(story.actors[source].node_id, message))
    engine.check_invariants()
    for effect in effects:
        if isinstance(effect, Persist):
            victim.store(effect.store).write(effect.writes, lazy=effect.lazy)
        if isinstance(effect, Rejected):
            assert 0 < len(effect.reason) <= MAX_REASON
    assert [engine.chain.block(at) for at in range(1, len(before) + 1)] == before
    engine.ledger.check_invariants()
