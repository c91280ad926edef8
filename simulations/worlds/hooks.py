"""What a world is told by those who know what runs in it."""

# ruff: noqa: ANN401, ARG002 - each world has its own messages; here nothing is done with them
from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from gossip.codec import encode
from simulations.worlds.process import Core, Process


class Vocabulary(NamedTuple):
    """In which classes a core is told of things."""

    started: Callable[[], object]
    received: Callable[[Any, Any], object]
    """Takes the sender's address and the message."""
    timer_fired: Callable[[str], object]
    connected: Callable[[Any], object] | None = None
    """Takes a peer's address. None: the core isn't told."""
    disconnected: Callable[[Any], object] | None = None


class Hooks:
    """A world's subclass overrides what it has an answer to; `vocabulary`, `boot` and `decode` always."""

    __slots__ = ()

    vocabulary: ClassVar[Vocabulary]

    def boot(self, process: Process) -> Core:
        """A fresh core over what the disk of `process` has."""
        raise NotImplementedError

    def decode(self, data: bytes) -> object:
        """A message from its bytes. Raises `DecodeError`."""
        raise NotImplementedError

    def encode(self, message: Any) -> bytes:
        """The bytes of a message."""
        return encode(message)

    def missing(self) -> str:
        """What has not happened though it should have, in a sentence; empty once all has."""
        return ""

    def has_asked(self, now_ms: int) -> bool:
        """Whether everything that users are going to ask for has been asked for."""
        return True

    def height(self) -> int:
        """How far the nodes came."""
        return 0

    def on_tick(self, now_ms: int) -> None:
        """What users do twice a second."""

    def describe(self, process: Process) -> str:
        """The state of a core that runs, in a few words."""
        return ""

    def label(self, message: Any) -> str:
        """A message in a few words."""
        return type(message).__name__

    def on_restarted(self, process: Process) -> None:
        """A process is back from a crash, its core not yet started."""

    def on_turn(self, process: Process) -> None:
        """An honest core has taken an event."""

    def on_cut(self, lost: list[Any]) -> None:
        """A process died in the middle of a turn and never did this."""

    def on_send(self, process: Process, message: Any) -> None:
        """A process sends a message; what it persisted before is on its disk."""

    def on_message(self, message: Any) -> None:
        """A message arrives."""

    def on_notify(self, process: Process, what: Any) -> None:
        """An honest core noted something."""

    def carry_other(self, process: Process, effect: Any) -> None:
        """Carry out an effect that only this world knows."""
        raise TypeError(f"no such effect: {effect!r}")

    def wipe_votes(self, process: Process) -> None:
        """The disk with what a process has promised is replaced by an empty one. By default: all its disks."""
        for store in process.stores.values():
            store.wipe()

    def renew(self, process: Process) -> None:
        """All disks of a process are replaced by new ones, set up as at the very first start."""
        for store in process.stores.values():
            store.wipe()
