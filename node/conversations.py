"""Talks with a node apart from how they are carried: a generator yields what to ask and is sent what came back.

So the client for scripts and the one for programs hold the same conversations, and no socket is needed to test them.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

_T = TypeVar("_T")

HEIGHT = "X-Height"
"""The header that tells after which block an answer is the answer."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request; it needs no token. With `content` it is a POST. `pause_s` is waited before it."""

    path: str
    content: bytes | None = None
    pause_s: float = 0.0

    @property
    def method(self) -> str:
        """Of HTTP."""
        return "GET" if self.content is None else "POST"

    @property
    def headers(self) -> dict[str, str]:
        """Those that the content needs."""
        return {} if self.content is None else {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Reply:
    """The body of a successful answer; `height` is the block after which it holds, where the node says so."""

    content: bytes
    height: int | None = None

    @classmethod
    def of(cls, content: bytes, height: str | None) -> Reply:
        """From the body and that header."""
        is_number = height is not None and height.isascii() and height.isdigit()
        return cls(content, int(height[:18]) if height is not None and is_number else None)


Conversation = Generator[Ask, Reply, _T]
