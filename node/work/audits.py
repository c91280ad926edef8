"""Peers' answers looked at again: a part of them by chance, and whenever the owner asks, by the same file here."""

from __future__ import annotations

import secrets
from typing import Final

import msgspec
import structlog
import trio

from gossip.codec import decode_canonical
from gossip.identity import NodeId
from inference.audit import TOP, Finding, Judgement, judge, likelihoods
from inference.backend import BackendError
from inference.backends.router import ModelRouter
from inference.chat import Call, CallKind, JsonObject
from inference.chat_task import ChatInput, ChatOutput
from inference.failures import Garbled
from inference.kinds import BadInput
from node.models.files import ModelFiles
from node.work.foreman import ForemanService

log = structlog.get_logger(__name__)

SHARE_PER_CENT: Final = 10
"""How many of peers' answers are looked at again, where the file is at hand."""

_AT_ONCE: Final = 2
_MAX_TOKENS: Final = 256
_WORDS: Final = ("river", "stone", "lamp", "paper", "wind", "seven", "green", "clock")


class Audits:
    """Compares and tells the foreman."""

    def __init__(
        self,
        router: ModelRouter,
        files: ModelFiles,
        foreman: ForemanService,
        nursery: trio.Nursery,
        share_per_cent: int = SHARE_PER_CENT,
    ) -> None:
        self._router, self._files, self.foreman = router, files, foreman
        self._nursery, self._share = nursery, share_per_cent
        self._under_way = 0

    def on_answer(self, peer: NodeId, given: ChatInput, content: bytes) -> None:
        """A peer has answered and signed; perhaps it is looked at again."""
        chosen = secrets.randbelow(100) < self._share and self._under_way < _AT_ONCE
        if chosen and self._files.with_file(given.file) is not None:
            self._nursery.start_soon(self.compare, peer, given, content)

    async def compare(self, peer: NodeId, given: ChatInput, content: bytes) -> Judgement:
        """Ask the same file here the same thing, and tell what came of it."""
        self._under_way += 1
        try:
            judgement = await self._judge(given, content)
        finally:
            self._under_way -= 1
        level = log.warning if judgement.finding is Finding.MISMATCH else log.info
        level(
            "answer compared",
            peer=peer.hex(),
            finding=judgement.finding.value,
            why=judgement.reason,
        )
        self.foreman.judged(peer, judgement)
        return judgement

    async def _judge(self, given: ChatInput, content: bytes) -> Judgement:
        place = self._files.with_file(given.file)
        if place is None:
            return Judgement(Finding.INCONCLUSIVE, "no server here has the same file")
        model, server = place
        output = decode_canonical(content, ChatOutput)
        lines: list[JsonObject] = [msgspec.json.decode(line) for line in output.lines]
        try:
            told = likelihoods(lines)
        except Garbled as error:
            return Judgement(Finding.INCONCLUSIVE, f"the peer's: {error}")
        if not told:
            return judge(told, [])
        try:
            call = _again(given, model, min(len(told), _MAX_TOKENS))
            own = await self._router.complete(call, only=server)
            return judge(told[:_MAX_TOKENS], likelihoods([own.answer]))
        except (BackendError, BadInput) as error:
            return Judgement(Finding.INCONCLUSIVE, f"it could not be asked here: {error}")


def _again(given: ChatInput, model: str, tokens: int) -> Call:
    """The same question, without chance, for as many tokens as are to be compared."""
    body = dict(given.call().body)
    for name in ("stream_options", "max_completion_tokens", "n", "temperature", "top_p", "seed"):
        body.pop(name, None)
    body |= {"temperature": 0, "max_tokens": tokens, "logprobs": True, "top_logprobs": TOP}
    return Call(CallKind.CHAT, model, body)


def canary(model: str, file: str) -> ChatInput:
    """A question like any other, of which the answer does not matter."""
    words = " ".join(secrets.choice(_WORDS) for _ in range(6))
    body = {
        "messages": [{"role": "user", "content": f"Write a few words about: {words}."}],
        "temperature": 0,
        "max_tokens": 24,
    }
    return ChatInput(
        method="chat",
        model=model,
        file=file,
        streamed=False,
        proof=True,
        request=msgspec.json.encode(body).decode(),
    )
