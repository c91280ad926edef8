"""The pure core of what goes on beside single tasks: the queue, what peers' answers are worth, work over many peers.

`handle(now_ms, event) -> effects`; the parts are `inference/waiting.py`, `inference/trust.py` and
`inference/spread.py`.
`node/work/foreman.py` carries the effects out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from gossip.effects import CancelTimer, KeyValueReader, Persist, SetTimer
from gossip.identity import NodeId
from inference.audit import Judgement
from inference.spread import (
    FollowPart,
    NodesChanged,
    PartEnded,
    PartPlaced,
    PlacePart,
    SpreadAsked,
    SpreadDropped,
    SpreadEvent,
    Spreads,
)
from inference.trust import TrustBook
from inference.waiting import (
    Enqueue,
    GiveUp,
    NotServed,
    PlacesChanged,
    Serve,
    Served,
    TriedAgain,
    WaitingRoom,
    Withdrawn,
)


@dataclass(frozen=True, slots=True)
class Started:
    """The node is up."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer of a peer was compared with the same file's here."""

    peer: NodeId
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Forgiven:
    """The owner gives a peer another chance."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer set by an effect ran out."""

    name: str


ForemanEvent = (
    Started
    | Judged
    | Forgiven
    | TimerFired
    | Enqueue
    | PlacesChanged
    | Served
    | NotServed
    | Withdrawn
    | TriedAgain
    | SpreadEvent
)
ForemanEffect = Persist | SetTimer | CancelTimer | Serve | GiveUp | PlacePart | FollowPart


class Foreman:
    """One node's."""

    def __init__(self, reader: KeyValueReader) -> None:
        self.room, self.trust = WaitingRoom(reader), TrustBook(reader)
        self.spreads = Spreads(reader)

    def handle(self, now_ms: int, event: ForemanEvent) -> list[ForemanEffect]:
        """Take one event; the effects are carried out in order."""
        match event:
            case Started():
                return [*self.room.on_started(now_ms), *self.spreads.on_started(now_ms)]
            case Judged(peer, judgement):
                return [*self.trust.note(now_ms, peer, judgement)]
            case Forgiven(peer):
                return [*self.trust.forget(peer)]
            case TimerFired(name):
                whose, _, rest = name.partition("/")
                if whose == "spread":
                    return [*self.spreads.on_timer(rest)]
                return [*self.room.on_timer(now_ms, rest)]
            case Enqueue() | PlacesChanged() | Served() | NotServed() | Withdrawn() | TriedAgain():
                return [*self.room.handle(now_ms, event)]
            case SpreadAsked() | NodesChanged() | PartPlaced() | PartEnded() | SpreadDropped():
                return [*self.spreads.handle(now_ms, event)]
            case _:
                assert_never(event)
