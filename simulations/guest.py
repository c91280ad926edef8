"""Somebody else's protocol in the same world: its cores, its messages, its judge.

A core is any object with `handle(now_ms, event) -> effects`, where events and effects are the classes of this module.
It reads no clock, draws nothing, and keeps what must survive a crash in the disk it is given. Subclass `Guest` to say
how cores are made and what must hold; `bizra-sim run --core module:Class` and the `simulate` fixture do the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from gossip.effects import CancelTimer, KeyValueReader, SetTimer
from simulations.violations import ViolationError


class Message(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """Base of a guest's messages; a subclass lists its fields."""


# Events: what a core is told.


@dataclass(frozen=True, slots=True)
class Started:
    """The node is up, for the first time or again; its disk has what it had."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message of another node has come."""

    sender: int
    message: Any


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer ran out."""

    name: str


@dataclass(frozen=True, slots=True)
class Request:
    """A user of this node wants something."""

    value: Any


# Effects: what a core wants, carried out in order. `SetTimer` and `CancelTimer` are others.


@dataclass(frozen=True, slots=True)
class Send:
    """A message for one node."""

    to: int
    message: Message


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A message for all other nodes."""

    message: Message


@dataclass(frozen=True, slots=True)
class Write:
    """Pairs for the disk, in one atomic batch; None deletes a key. Nothing after it happens before it is synced."""

    pairs: Mapping[bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class Note:
    """Something for the judge and the trace, such as a decision."""

    what: Any


@dataclass(frozen=True, slots=True)
class Place:
    """Where a core finds itself when it is made."""

    number: int
    nodes: int
    disk: KeyValueReader
    parameters: Mapping[str, Any]


class Guest:
    """A protocol. One object judges one run, so what it remembers belongs to that run."""

    nodes: ClassVar[int] = 3
    """How many nodes a seed's scenario has."""
    messages: ClassVar[Any] = Message
    """The union of all kinds of messages."""
    bound_ms: ClassVar[int] = 10_000
    """How long after healing everything must have happened."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.parameters = parameters

    def boot(self, place: Place) -> Any:  # noqa: ANN401 - a guest's cores are of its own class
        """A fresh core over what is on its disk."""
        raise NotImplementedError

    def requests(self) -> Iterable[tuple[int, int, Any]]:
        """What users ask for: when in ms, of which node, what."""
        return ()

    def noted(self, node: int, what: Any) -> None:  # noqa: ANN401 - whatever its cores note
        """A core noted something; call `broken` if that may not be."""

    def check(self, cores: Mapping[int, Any]) -> None:
        """After every turn, over the cores that run; call `broken` if something may not be."""

    def missing(self, cores: Mapping[int, Any]) -> str:  # noqa: ARG002 - nothing is asked for
        """What has not happened yet, in a sentence; empty if all has. Asked for after healing."""
        return ""

    def describe(self, core: Any) -> str:  # noqa: ANN401
        """The state of a core in a few words."""
        del core
        return ""


def broken(invariant: str, sentence: str) -> None:
    """End the run: this invariant does not hold."""
    raise ViolationError(invariant, sentence)


__all__ = [
    "Broadcast",
    "CancelTimer",
    "Guest",
    "Message",
    "Note",
    "Place",
    "Received",
    "Request",
    "Send",
    "SetTimer",
    "Started",
    "TimerFired",
    "Write",
    "broken",
]
