"""Real messages as seeds, and what any bytes made of them may bring about; for `test_fuzz.py` and `guided_fuzz.py`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

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


def judge(raw: bytes, source: int) -> None:
    """What one message from a peer may bring about: no exception, no change of what was decided."""
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


def take(data: bytes) -> None:
    """One input: its first byte says who sends the rest."""
    if data:
        judge(data[1:], data[0] % 4)


def fill(folder: Path) -> None:
    """Put the seeds where libFuzzer looks for them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, raw in enumerate(seeds()):
        (folder / f"seed-{number}").write_bytes(bytes([number % 4]) + raw)
