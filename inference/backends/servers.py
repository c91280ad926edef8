"""What a model server is to the rest of the node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol, runtime_checkable

import msgspec

from inference.chat import Call, JsonObject
from inference.selection import ServerKind

DEFAULT_TIMEOUT_S: Final = 600.0
DEFAULT_PARALLEL: Final = 64


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A `[[backend]]` of the configuration.

    With `models`, only these are used, even if the server has more. `timeout_s` bounds the wait for
    a plain answer, and each pause in a stream. At most `parallel` requests are there at once, and
    `per_minute` are sent in a minute (0: no bound). Of servers of one kind the one with the lower `price`
    is asked first.
    """

    name: str
    url: str
    kind: ServerKind
    api_key: str | None = None
    models: tuple[str, ...] = ()
    timeout_s: float = DEFAULT_TIMEOUT_S
    parallel: int = DEFAULT_PARALLEL
    per_minute: int = 0
    price: int = 0


class Vectors(msgspec.Struct, frozen=True):
    """One vector for each text, and how many tokens the texts had."""

    rows: list[list[float]]
    prompt_tokens: int


Take = Callable[[bytes], bool]
"""Takes bytes at once, and says whether there is room for more. It may be called in another thread."""


class TokenStream(Protocol):
    """A streamed answer, in OpenAI's form."""

    async def receive(self) -> JsonObject | None:
        """The next chunk; None after a proper end. Raises `Failure`."""

    async def pass_on(self, take: Take, framed: Take | None = None, /) -> bytes | None:
        """Give the rest, as events of OpenAI's protocol, to `take` as it comes.

        After the first piece an event may go to `framed` in its place, inside of one of HTTP's chunks.
        None if that has no room, to be called again when it has. After a proper end the last events
        (perhaps none), which `take` was not given: there is more to come with them. Raises `Failure`.
        """

    async def aclose(self) -> None:
        """Give the connection back; before the end, this tells the server to stop."""


@runtime_checkable
class TellsContexts(Protocol):
    """A server that tells how many tokens its models read, by their names."""

    contexts: Mapping[str, int]


class Server(Protocol):
    """A server. All methods raise `Failure`; cancelling one closes its connection."""

    @property
    def settings(self) -> ServerSettings: ...

    async def probe(self) -> tuple[str, ...]:
        """The models that it has now."""

    async def complete(self, call: Call) -> JsonObject:
        """A whole answer, in OpenAI's form."""

    async def open_stream(self, call: Call) -> TokenStream:
        """A streamed answer; returns when the server has begun to answer."""

    async def embed(self, call: Call) -> Vectors:
        """A vector for each text of `call.body["input"]`."""

    async def aclose(self) -> None: ...
