"""The real hand-off of a task over a stream that the world carries, without an event loop.

`inference.handoff` is written as coroutines over a stream. Here such a coroutine is run by hand: it goes on as far as
it can with what has come, and rests until more does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any

from gossip.codec import Natural, Wire
from inference.handoff import HandoffError

END = b""
"""What stands for the end of a stream's one direction; no message is empty."""


class Name(Wire, frozen=True):
    """A stream: which node opened it, in which of its lives, and its number there."""

    asker: Natural
    life: Natural
    number: Natural


class Frame(Wire, frozen=True, tag="frame"):
    """One message of a stream. `opens`: the first one."""

    stream: Name
    opens: bool
    content: bytes


@coroutine
def _rest() -> Generator[None, None, None]:
    yield


class Pipe:
    """One end of a stream, as `inference.handoff.ContentStream`."""

    def __init__(self) -> None:
        self.outgoing: list[bytes] = []
        """What the world has to carry away."""
        self._come: deque[bytes] = deque()

    async def send(self, message: bytes) -> None:
        """See `ContentStream`."""
        self.outgoing.append(message)

    async def receive(self) -> bytes | None:
        """See `ContentStream`."""
        while not self._come:
            await _rest()
        return self._come.popleft() or None

    def push(self, message: bytes) -> None:
        """A message, or `END`, has come."""
        self._come.append(message)

    def take(self) -> list[bytes]:
        """What is to be carried away, once."""
        outgoing, self.outgoing = self.outgoing, []
        return outgoing


def at_once(whole: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never has to wait."""
    try:
        whole.send(None)
    except StopIteration:
        return
    raise AssertionError("it waited for something")


class Talk:
    """A coroutine over a pipe, and how far it has come."""

    def __init__(self, pipe: Pipe, listening: Coroutine[Any, Any, None]) -> None:
        self.pipe = pipe
        self._listening: Coroutine[Any, Any, None] | None = listening
        self.error = ""
        """Why it ended, if the other side broke the protocol."""

    @property
    def is_over(self) -> bool:
        """Whether it listens no more."""
        return self._listening is None

    def go_on(self) -> None:
        """As far as it goes with what has come."""
        if self._listening is None:
            return
        try:
            self._listening.send(None)
        except StopIteration:
            self._listening = None
        except HandoffError as error:
            self._listening, self.error = None, str(error)

    def hear(self, message: bytes) -> None:
        """A message has come."""
        self.pipe.push(message)
        self.go_on()

    def close(self) -> None:
        """Nobody listens any more."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
