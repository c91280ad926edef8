"""What the doors ask: the router, and around it all that makes its answers what callers asked for.

1. Answers have the form that was asked for, and are as many (`inference/forms.py`).
2. A stream that breaks is continued by another server, if its caller asked for that (`inference/continuing.py`).
3. What is deterministic is taken from the cache (`inference/answer_cache.py`), or from other nodes that share it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from inference.answer_cache import BYPASS, MISS, AnswerCache, Asker
from inference.backends.router import (
    Candidate,
    ListedModel,
    ModelRouter,
    Routed,
    RoutedStream,
)
from inference.backends.servers import Vectors
from inference.chat import Call, JsonObject
from inference.continuing import ContinuedStream, may_continue
from inference.forms import FormedAnswers, FormedStream, fits, shape_wanted, with_answer
from inference.selection import Choice, Standing, split_file
from inference.structured import Shape

_FILE_DIGITS: Final = 64


class AnswerEngine:
    """The doors' side of a router."""

    def __init__(self, router: ModelRouter, cache: AnswerCache) -> None:
        self._router, self.cache = router, cache
        self._forms = FormedAnswers(router)

    async def models(self) -> tuple[ListedModel, ...]:
        """What can be asked for now."""
        return await self._router.models()

    def standings(self) -> tuple[Standing, ...]:
        """The servers of this machine as they were found last."""
        return self._router.standings()

    async def complete(self, call: Call, asker: Asker | None = None) -> Routed[JsonObject]:
        """A whole answer. Raises as the router does, and `FormFailure`."""
        shape = shape_wanted(call)
        if asker is None or not self.cache.may_keep(call):
            routed = await self._forms.complete(call, shape)
            return msgspec.structs.replace(routed, cache=BYPASS)
        candidate = await self._router.first_choice(call)
        kept = await self._kept(call, candidate, asker, shape)
        if kept is not None:
            return kept
        routed = await self._forms.complete(call, shape)
        if candidate is None:
            return msgspec.structs.replace(routed, cache=BYPASS)
        self._keep(call, routed, candidate, asker)
        return msgspec.structs.replace(routed, cache=MISS)

    async def _kept(
        self, call: Call, candidate: Candidate | None, asker: Asker, shape: Shape | None
    ) -> Routed[JsonObject] | None:
        """What is kept here, or shared by others; that is kept here from now on."""
        key = None if candidate is None else self.cache.key(call, candidate, asker)
        kept = None if key is None else self.cache.answer(key, asker)
        if kept is not None:
            return kept
        choice = _named_choice(call) if candidate is None else candidate.choice
        if choice is None:
            return None
        shared = await self.cache.shared_answer(call, choice, asker)
        if shared is None or (shape is not None and not await fits(shared.answer, shape)):
            return None
        if key is not None:
            self.cache.keep_answer(key, shared)
        return shared

    def _keep(
        self, call: Call, routed: Routed[JsonObject], candidate: Candidate, asker: Asker
    ) -> None:
        """Keep an answer, if it came from what would have been looked up: not from another file that stood in."""
        gave = next((one for one in routed.decision.choices if one.server == routed.server), None)
        if gave is None:
            return
        if gave.server == candidate.choice.server or (
            gave.file and gave.file == candidate.choice.file
        ):
            self.cache.keep_answer(self.cache.key(call, candidate, asker), routed)
        self.cache.share_answer(call, routed, gave, asker)

    async def embed(self, call: Call, asker: Asker | None = None) -> Routed[Vectors]:
        """A vector for each text. Raises as the router does."""
        key = await self._key(call, asker)
        if key is not None and asker is not None:
            kept = self.cache.vectors(key, asker)
            if kept is not None:
                return kept
        routed = await self._router.embed(call)
        if key is None:
            return msgspec.structs.replace(routed, cache=BYPASS)
        self.cache.keep_vectors(key, routed)
        return msgspec.structs.replace(routed, cache=MISS)

    async def open_stream(
        self, call: Call
    ) -> Routed[RoutedStream | FormedStream | ContinuedStream]:
        """A stream with its first token at hand, to be closed. Raises as the router does."""
        shape = shape_wanted(call)
        routed = await self._router.open_stream(call)
        if shape is None and may_continue(call):
            return with_answer(routed, ContinuedStream(self._router, call, routed))
        if shape is None:
            return with_answer(routed, routed.answer)
        return with_answer(routed, FormedStream(routed.answer, shape))

    async def _key(self, call: Call, asker: Asker | None) -> bytes | None:
        """The answer's place in the cache; None if it must be worked out."""
        if asker is None or not self.cache.may_keep(call):
            return None
        candidate = await self._router.first_choice(call)
        return None if candidate is None else self.cache.key(call, candidate, asker)


def _named_choice(call: Call) -> Choice | None:
    """Whose answer is wanted where nobody can be asked: the caller has named the model's file in full."""
    model, file = split_file(call.model)
    return Choice("", model, file) if len(file) == _FILE_DIGITS else None
