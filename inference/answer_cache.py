"""Answers that need not be worked out again: vectors in memory, texts on disk, and those that other nodes share.

Only what is deterministic is kept: embeddings, and texts at temperature 0. An answer is found by who
asked, by the model and by every parameter. The model is the hash of its file where that is known;
otherwise it is the server, for as long as it stays up and this process runs: nobody knows what a
server that was away has loaded since.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import sha256
from typing import Final, Protocol

import msgspec

from inference.backends.router import Candidate, Routed
from inference.backends.servers import Vectors
from inference.cache import CacheFigures, CacheKind, Level, MemoryCache
from inference.chat import Call, CallKind, JsonObject
from inference.selection import Choice, Considered, Decision, Verdict

MISS: Final = "MISS"
BYPASS: Final = "BYPASS"

_NO_PARAMETERS: Final = ("model", "stream", "stream_options", "user", "metadata", "encoding_format")
"""What does not change an answer, or is in the key already."""
_SWEEP_MS: Final = 30_000
_FLOAT_BYTES: Final = 32
"""A Python float in a list."""


class Asker(msgspec.Struct, frozen=True):
    """Who asks: nobody finds what another tenant asked. `fresh` wants it worked out anew."""

    tenant: str
    fresh: bool = False


class Kept(msgspec.Struct, frozen=True):
    """An answer on disk."""

    answer: JsonObject
    server: str
    model: str


class Shelf(Protocol):
    """Bytes on disk with a life and a bound, by their keys."""

    def get(self, key: bytes) -> bytes | None: ...

    def put(self, key: bytes, value: bytes) -> None: ...

    def clear(self) -> None: ...

    def figures(self) -> CacheFigures: ...


class Sharing(Protocol):
    """Answers of other nodes (`inference/shared_answers.py`)."""

    async def find(self, call: Call, choice: Choice, asker: Asker) -> Routed[JsonObject] | None:
        """An answer that another node gave to the same request, checked."""

    def keep(self, call: Call, routed: Routed[JsonObject], choice: Choice, asker: Asker) -> None:
        """Share an answer, if its request allows that. `choice` is who gave it."""

    def clear(self) -> None: ...

    def figures(self) -> CacheFigures: ...


class AnswerCache:
    """All caches. `now_ms` is a steady clock."""

    def __init__(
        self, shelf: Shelf, now_ms: Callable[[], int], sharing: Sharing | None = None
    ) -> None:
        self._shelf, self._now_ms, self._sharing = shelf, now_ms, sharing
        self._vectors: MemoryCache[tuple[Vectors, str, str]] = MemoryCache(CacheKind.EMBEDDINGS)
        self._swept_ms = 0
        self._run = secrets.token_bytes(8)
        """Names this process, for models of which nothing else is known."""

    def may_keep(self, call: Call) -> bool:
        """Whether asking again would give the same."""
        return call.kind is CallKind.EMBED or call.body.get("temperature") == 0

    def key(self, call: Call, candidate: Candidate, asker: Asker) -> bytes:
        """Where the answer of this candidate stands."""
        choice = candidate.choice
        model = choice.file or f"{self._run.hex()} {choice.server} {candidate.epoch} {choice.model}"
        parameters = {
            name: value for name, value in call.body.items() if name not in _NO_PARAMETERS
        }
        named = [asker.tenant, model, choice.model, call.kind.value, parameters, call.options]
        return sha256(msgspec.json.encode(named, order="sorted")).digest()

    def answer(self, key: bytes, asker: Asker) -> Routed[JsonObject] | None:
        """What is kept of a text."""
        data = None if asker.fresh else self._shelf.get(key)
        if data is None:
            return None
        kept = msgspec.json.decode(data, type=Kept)
        return Routed(
            kept.answer, kept.server, kept.model, _kept_decision(kept.model), Level.DISK.value
        )

    def keep_answer(self, key: bytes, routed: Routed[JsonObject]) -> None:
        """Keep a text."""
        kept = Kept(routed.answer, routed.server, routed.model)
        self._shelf.put(key, msgspec.json.encode(kept))

    async def shared_answer(
        self, call: Call, choice: Choice, asker: Asker
    ) -> Routed[JsonObject] | None:
        """What other nodes have of a text that the model of this choice would give."""
        if self._sharing is None or asker.fresh:
            return None
        return await self._sharing.find(call, choice, asker)

    def share_answer(
        self, call: Call, routed: Routed[JsonObject], choice: Choice, asker: Asker
    ) -> None:
        """Let other nodes have a text."""
        if self._sharing is not None:
            self._sharing.keep(call, routed, choice, asker)

    def vectors(self, key: bytes, asker: Asker) -> Routed[Vectors] | None:
        """What is kept of vectors."""
        found = None if asker.fresh else self._vectors.get(key, self._now_ms())
        if found is None:
            return None
        vectors, server, model = found
        return Routed(vectors, server, model, _kept_decision(model), Level.MEMORY.value)

    def keep_vectors(self, key: bytes, routed: Routed[Vectors]) -> None:
        """Keep vectors."""
        size = sum(map(len, routed.answer.rows)) * _FLOAT_BYTES
        now_ms = self._now_ms()
        if now_ms - self._swept_ms >= _SWEEP_MS:
            self._swept_ms = now_ms
            self._vectors.drop_old(now_ms)
        self._vectors.put(key, (routed.answer, routed.server, routed.model), size, now_ms)

    def clear(self) -> None:
        """Forget everything."""
        self._vectors.clear()
        self._shelf.clear()
        if self._sharing is not None:
            self._sharing.clear()

    def figures(self) -> tuple[CacheFigures, ...]:
        """All as they stand."""
        shared = () if self._sharing is None else (self._sharing.figures(),)
        return (self._vectors.figures(), self._shelf.figures(), *shared)


def _kept_decision(model: str) -> Decision:
    line = Considered("cache", Verdict.CHOSEN, "it keeps the answer to the same request")
    return Decision(model, (), (line,), is_known=True)
