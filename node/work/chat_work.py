"""Conversations of peers, answered by the model servers of this machine.

An answer is written while the claim is on its way to the ledger; its lines leave the node once the
claim is final, so nobody takes them and withdraws the task. A slot of the model is lent from the
moment a task is taken until its end or deadline. When the asker says `Stop`, or its stream is gone,
the model server is told by closing the connection; what was sent by then is signed for.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec
import trio

from gossip.codec import Digest
from inference.backend import BackendError, Result, TaskFailed
from inference.backends.router import ModelRouter
from inference.chat import Call, JsonObject
from inference.chat_task import (
    MAX_LINE_CHARS,
    MAX_LINES,
    ChatInput,
    ChatOutput,
    decode_chat_input,
    encode_chat,
    reason_of,
    tokens_of,
)
from inference.kinds import BadInput, Usage
from node.models.files import ModelFiles

COALESCE_S: Final = 0.02
"""How long lines gather between two messages."""

_MAX_UNSENT_CHARS: Final = 256 * 1024
_MAX_MESSAGE_CHARS: Final = 64 * 1024
_MAX_TAKEN: Final = 4096


@dataclass(slots=True)
class _Chat:
    """One conversation being answered."""

    model: str
    file: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    unsent: deque[str] = field(default_factory=deque)
    unsent_chars: int = 0
    sent: list[str] = field(default_factory=list)
    whole: list[str] | None = None
    room: trio.Event = field(default_factory=trio.Event)


class ChatWork:
    """All conversations of peers. `on_news` is told the task when it has lines to send."""

    def __init__(self, router: ModelRouter, files: ModelFiles) -> None:
        self._router, self._files = router, files
        self.on_news: Callable[[Digest], None] = _nobody
        self._chats: dict[Digest, _Chat] = {}

    def in_hand(self, model: str, file: str) -> int:
        """How many of the model's slots are lent."""
        return self._lent()[model, file]

    def _lent(self) -> Counter[tuple[str, str]]:
        return Counter((chat.model, chat.file) for chat in self._chats.values())

    def unable(self, content: bytes, reward: int) -> str | None:
        """Why a conversation can't be answered here now for this reward, or None."""
        try:
            asked = decode_chat_input(content)
            asked.call()
        except BadInput as error:
            return str(error)
        if self._files.place_of(asked.model, asked.file) is None:
            return (
                f"there is no model {asked.model[:100]!r} with the file {asked.file[:12]} here now"
            )
        price = self._files.price_of(asked.model, asked.file)
        if reward < price:
            return f"an answer of {asked.model[:100]!r} costs {price}, the reward is {reward}"
        slots = self._files.slots_of(asked.model, asked.file)
        if self.in_hand(asked.model, asked.file) >= slots:
            return (
                f"all {slots} slots of {asked.model[:100]!r} are lent; ask again later or elsewhere"
            )
        return None

    def take(self, task: Digest) -> tuple[str, ...]:
        """Lines to send now; from here on they count as sent."""
        chat = self._chats.get(task)
        if chat is None:
            return ()
        taken: list[str] = []
        chars = 0
        while chat.unsent and len(taken) < _MAX_TAKEN and chars < _MAX_MESSAGE_CHARS:
            line = chat.unsent.popleft()
            chars += len(line)
            taken.append(line)
        chat.unsent_chars -= chars
        chat.sent += taken
        if taken:
            chat.room.set()
        return tuple(taken)

    def stop(self, task: Digest) -> None:
        """Its asker wants no more. Nothing for other kinds."""
        chat = self._chats.get(task)
        if chat is not None:
            chat.scope.cancel()

    def forget(self, task: Digest) -> None:
        """It has ended and nobody waits for its lines."""
        self._chats.pop(task, None)

    async def run(self, task: Digest, content: bytes, timeout_s: float) -> Result:
        """Answer. Raises `BackendError` and `BadInput`; the text is for the asker."""
        asked = decode_chat_input(content)
        server = self._files.place_of(asked.model, asked.file)
        if server is None:
            raise TaskFailed(f"backend_wrong_model: {asked.model!r} is no longer here")
        chat = self._chats[task] = _Chat(asked.model, asked.file)
        began_s = trio.current_time()
        call = asked.call()
        if asked.proof and self._files.is_ollama(server):
            call.body.pop("logprobs", None)
        with trio.move_on_after(timeout_s) as deadline, chat.scope:
            await self._write(task, chat, call, server, streamed=asked.streamed)
        took_ms = int(1000 * (trio.current_time() - began_s))
        if chat.whole is not None:
            return _result(asked, chat.whole, took_ms, is_whole=True)
        if deadline.cancelled_caught:
            raise TaskFailed("backend_timeout: its time ran out")
        chat.unsent.clear()  # what is signed for below is all that ever leaves
        if not chat.sent:
            raise TaskFailed("stopped by its asker")
        return _result(asked, chat.sent, took_ms, is_whole=False)

    async def _write(
        self, task: Digest, chat: _Chat, call: Call, server: str, *, streamed: bool
    ) -> None:
        work = self._stream if streamed else self._whole
        try:
            chat.whole = await work(task, chat, call, server)
        except BackendError as error:
            raise TaskFailed(reason_of(error)) from error

    async def _whole(self, _task: Digest, _chat: _Chat, call: Call, server: str) -> list[str]:
        routed = await self._router.complete(call, only=server)
        return [_line(routed.answer)]

    async def _stream(self, task: Digest, chat: _Chat, call: Call, server: str) -> list[str]:
        lines: list[str] = []
        routed = await self._router.open_stream(call, only=server)
        try:
            while (chunk := await routed.answer.receive()) is not None:
                line = _line(chunk)
                lines.append(line)
                if len(lines) > MAX_LINES:
                    raise TaskFailed(f"the answer has more than {MAX_LINES} pieces")
                while chat.unsent_chars > _MAX_UNSENT_CHARS:
                    chat.room = trio.Event()
                    await chat.room.wait()
                chat.unsent.append(line)
                chat.unsent_chars += len(line)
                self.on_news(task)
        finally:
            await routed.answer.aclose()
        return lines


def _nobody(_: Digest) -> None:
    pass


def _line(value: JsonObject) -> str:
    line = msgspec.json.encode(value).decode()
    if len(line) > MAX_LINE_CHARS:
        raise TaskFailed(f"a piece of the answer has more than {MAX_LINE_CHARS:,} characters")
    return line


def _result(asked: ChatInput, lines: list[str], took_ms: int, *, is_whole: bool) -> Result:
    parsed = [msgspec.json.decode(line) for line in lines]
    return Result(
        encode_chat(ChatOutput(lines=tuple(lines), is_whole=is_whole)),
        Usage(items=1, tokens=tokens_of(parsed), duration_ms=took_ms),
        asked.file,
    )
