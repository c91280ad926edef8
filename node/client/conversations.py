"""Talks with a node apart from how they are carried: a generator yields what to ask and is sent what came back.

So the client for scripts and the one for programs hold the same conversations, and no socket is needed to test them.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

from node.client.answers import Answer, understood
from node.views.records import JsonObject

_T = TypeVar("_T")

JSON = "application/json"
BINARY = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Ask:
    """A request; `pause_s` is waited before it.

    With `owner` it shows the owner's token. With a `key` it is done once, however often it is asked. What is refused
    ends the conversation with `RefusedError`, but where the answer is wanted `whatever` its status.
    """

    path: str
    content: bytes | None = None
    pause_s: float = 0.0
    verb: Literal["GET", "POST", "DELETE"] | None = None
    media: str = JSON
    owner: bool = False
    key: str | None = None
    whatever: bool = False

    @property
    def method(self) -> str:
        """Of HTTP: what was said, else POST if there is something to send."""
        return self.verb or ("GET" if self.content is None else "POST")

    @property
    def headers(self) -> dict[str, str]:
        """Those that the content needs, and the key; the token is put to them by whoever carries this."""
        media = {} if self.content is None else {"Content-Type": self.media}
        return media if self.key is None else {**media, "Idempotency-Key": self.key}


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


def get(path: str, kind: type[Answer], *, owner: bool = False) -> Conversation[Answer]:
    """One question that changes nothing."""
    return understood((yield Ask(path, owner=owner)).content, kind, path)


def post(
    path: str,
    wanted: JsonObject | None,
    kind: type[Answer],
    *,
    owner: bool = True,
    key: str | None = None,
) -> Conversation[Answer]:
    """One deed."""
    content = None if wanted is None else msgspec.json.encode(wanted)
    asked = Ask(path, content, verb="POST", owner=owner, key=key)
    return understood((yield asked).content, kind, path)


def delete(path: str, kind: type[Answer]) -> Conversation[Answer]:
    """Take something back; the answer says what came of it."""
    return understood((yield Ask(path, verb="DELETE", owner=True)).content, kind, path)


def drop(path: str) -> Conversation[None]:
    """Take something back; the answer is empty."""
    yield Ask(path, verb="DELETE", owner=True)
