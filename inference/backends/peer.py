"""A peer's models as one more server: a call becomes a task of kind `chat`, its lines the answer.

How a task reaches the peer is the door's matter (`node/work/peer_chat.py`). Here an answer is held to the
same rules as that of any server: it is checked chunk by chunk, and no broken one ends cleanly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import trio

from inference.backends.passing import pass_chunks
from inference.backends.servers import ServerSettings, Take, Vectors
from inference.chat import Call, JsonObject, StreamCheck, check_answer, decode_object
from inference.chat_task import ChatInput, chat_input, without_proof
from inference.failures import Broken, Silent, Unsupported


class PeerAnswer(Protocol):
    """What a peer says to one call."""

    @property
    def task(self) -> str:
        """The task's id, in hex."""

    async def receive(self) -> str | None:
        """The next line; None once the peer's receipt for all of them is here. Raises `Failure`."""

    async def aclose(self) -> None:
        """Before the end this tells the peer to stop."""


class PeerDoor(Protocol):
    """The way to one peer."""

    async def ask(self, given: ChatInput, why: str) -> PeerAnswer:
        """Hand a call in. `why` says for the record why this peer was chosen. Raises `Failure`."""


class PeerServer:
    """A `Server`. Its models and their contexts are known from the peer's record, not asked for."""

    def __init__(self, settings: ServerSettings, door: PeerDoor) -> None:
        self.settings = settings
        self.contexts: Mapping[str, int] = {}
        self._door = door

    async def aclose(self) -> None:
        """Nothing is held."""

    async def probe(self) -> tuple[str, ...]:
        return self.settings.models

    async def complete(self, call: Call) -> JsonObject:
        with trio.move_on_after(self.settings.timeout_s):
            answer = await self._door.ask(chat_input(call, streamed=False), call.why)
            try:
                line = await answer.receive()
                if line is None:
                    raise Broken("it signed for an answer without a line")
                if await answer.receive() is not None:
                    raise Broken("it answered more than once")
            finally:
                await answer.aclose()
            whole = without_proof(call, check_answer(call, decode_object(line.encode())))
            return {**whole, "bizra_task": answer.task}
        raise Silent(f"it did not answer within {self.settings.timeout_s:g} s")

    async def open_stream(self, call: Call) -> PeerStream:
        answer = await self._door.ask(chat_input(call, streamed=True), call.why)
        return PeerStream(answer, call, self.settings.timeout_s)

    async def embed(self, call: Call) -> Vectors:
        raise Unsupported(f"a peer embeds as a task ({call.kind.value}): see `task submit embed`")


class PeerStream:
    """A `TokenStream` from a peer. `silence_s` is the longest pause between two lines."""

    def __init__(self, answer: PeerAnswer, call: Call, silence_s: float) -> None:
        self._answer, self._call, self._silence_s = answer, call, silence_s
        self._check = StreamCheck(call)
        self._is_first = True

    async def receive(self) -> JsonObject | None:
        """The next chunk; None after a proper end. The first one names the task."""
        while True:
            line: str | None = None
            with trio.move_on_after(self._silence_s) as scope:
                line = await self._answer.receive()
            if scope.cancelled_caught:
                raise Silent(f"it fell silent for {self._silence_s:g} s in the middle of an answer")
            if line is None:
                self._check.end()
                return None
            chunk = decode_object(line.encode())
            self._check.take(chunk)
            if not chunk["choices"] and not self._call.wants_usage:
                continue  # its usage is for the receipt; this caller did not ask for it
            without_proof(self._call, chunk)
            if self._is_first:
                self._is_first = False
                chunk["bizra_task"] = self._answer.task
            return chunk

    async def pass_on(self, take: Take, _framed: Take | None = None, /) -> bytes | None:
        return await pass_chunks(self.receive, take)

    async def aclose(self) -> None:
        await self._answer.aclose()
