"""What the doors ask: the router, and around it all that makes its answers what callers asked for.

1. Answers in a form (`response_format`) are checked. One that does not fit is asked for once more,
   with what is wrong with it; if that fails too, the caller is told and never gets it as if it fitted.
2. `n` answers are collected one by one from servers that give one at a time.
3. A stream that breaks is continued by another server, if its caller asked for that (`inference/continuing.py`).
4. What is deterministic is taken from the cache (`inference/answer_cache.py`), or from other nodes that share it.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
import trio

from inference.answer_cache import BYPASS, MISS, AnswerCache, Asker
from inference.backend import BackendError
from inference.backends.passing import pass_chunks
from inference.backends.router import (
    Candidate,
    ListedModel,
    ModelRouter,
    Refused,
    Routed,
    RoutedStream,
)
from inference.backends.servers import Take, Vectors
from inference.chat import Call, JsonObject
from inference.continuing import ContinuedStream, may_continue
from inference.failures import BadRequest, Garbled
from inference.selection import Choice, Decision, split_file
from inference.structured import Shape, fitted, repair_call, shape_of

_UNCHECKED: Final = frozenset({"length", "tool_calls", "function_call", "content_filter"})
"""Answers that ended for these reasons are no whole texts."""
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
_FILE_DIGITS: Final = 64

T = TypeVar("T")


class OutOfForm(Garbled):
    """The answer has not the form that the caller asked for, at the second attempt too."""

    code = "backend_out_of_form"


class FormFailure(BackendError):  # noqa: N818  # what happened
    """A model answered twice, and never in the form that was asked for."""

    def __init__(self, decision: Decision, fault: str) -> None:
        super().__init__(
            f"the model answered twice, and not in the form that was asked for: {fault}"
        )
        self.decision = decision


class AnswerEngine:
    """The doors' side of a router."""

    def __init__(self, router: ModelRouter, cache: AnswerCache) -> None:
        self._router, self.cache = router, cache

    async def models(self) -> tuple[ListedModel, ...]:
        """What can be asked for now."""
        return await self._router.models()

    async def complete(self, call: Call, asker: Asker | None = None) -> Routed[JsonObject]:
        """A whole answer. Raises as the router does, and `FormFailure`."""
        shape = _shape(call)
        if asker is None or not self.cache.may_keep(call):
            routed = await self._worked_out(call, shape)
            return msgspec.structs.replace(routed, cache=BYPASS)
        candidate = await self._router.first_choice(call)
        kept = await self._kept(call, candidate, asker, shape)
        if kept is not None:
            return kept
        routed = await self._worked_out(call, shape)
        if candidate is None:
            return msgspec.structs.replace(routed, cache=BYPASS)
        self._keep(call, routed, candidate, asker)
        return msgspec.structs.replace(routed, cache=MISS)

    async def _worked_out(self, call: Call, shape: Shape | None) -> Routed[JsonObject]:
        routed = await self._all_choices(call)
        return routed if shape is None else await self._fitting(call, routed, shape)

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
        if shared is None or (shape is not None and not await _fits(shared.answer, shape)):
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
        shape = _shape(call)
        routed = await self._router.open_stream(call)
        if shape is None and may_continue(call):
            return _with_answer(routed, ContinuedStream(self._router, call, routed))
        if shape is None:
            return _with_answer(routed, routed.answer)
        return _with_answer(routed, FormedStream(routed.answer, shape))

    async def _key(self, call: Call, asker: Asker | None) -> bytes | None:
        """The answer's place in the cache; None if it must be worked out."""
        if asker is None or not self.cache.may_keep(call):
            return None
        candidate = await self._router.first_choice(call)
        return None if candidate is None else self.cache.key(call, candidate, asker)

    async def _all_choices(self, call: Call) -> Routed[JsonObject]:
        wanted = call.body.get("n") or 1
        if wanted == 1:
            return await self._router.complete(call)
        routed = await self._router.complete(_with_n(call, wanted))
        choices, answers = list(routed.answer["choices"]), [routed.answer]
        while len(choices) < wanted:
            answer = (await self._router.complete(_with_n(call, 1))).answer
            answers.append(answer)
            choices.append({**answer["choices"][0], "index": len(choices)})
        summed = {**routed.answer, "choices": choices[:wanted], "usage": _summed(answers)}
        return _with_answer(routed, summed)

    async def _fitting(
        self, call: Call, routed: Routed[JsonObject], shape: Shape
    ) -> Routed[JsonObject]:
        try:
            return _with_answer(routed, await _fit_all(routed.answer, shape))
        except ValueError as error:
            fault, choices = str(error), routed.answer["choices"]
            if len(choices) > 1:
                raise FormFailure(routed.decision, fault) from None
            text = choices[0]["message"].get("content") or ""
        again = await self._router.complete(repair_call(call, text, fault))
        try:
            fits = await _fit_all(again.answer, shape)
        except ValueError as error:
            raise FormFailure(again.decision, str(error)) from None
        return _with_answer(again, {**fits, "usage": _summed([routed.answer, again.answer])})


class FormedStream:
    """A stream whose text must have a form: what does not have it at its end is no proper end."""

    def __init__(self, stream: RoutedStream, shape: Shape) -> None:
        self._stream, self._shape = stream, shape
        self._texts: dict[int, list[str]] = {}
        self._unchecked: set[int] = set()

    async def receive(self) -> JsonObject | None:
        """The next chunk; None after a proper end. Raises `Failure`."""
        chunk = await self._stream.receive()
        if chunk is None:
            await self._check()
            return None
        for choice in chunk["choices"]:
            index, delta = choice.get("index", 0), choice.get("delta") or {}
            self._texts.setdefault(index, []).append(delta.get("content") or "")
            if choice.get("finish_reason") in _UNCHECKED:
                self._unchecked.add(index)
        return chunk

    async def pass_on(self, take: Take) -> bytes | None:
        """As `TokenStream` says."""
        return await pass_chunks(self.receive, take)

    async def _check(self) -> None:
        for index, parts in self._texts.items():
            if index in self._unchecked:
                continue
            try:
                await trio.to_thread.run_sync(fitted, "".join(parts), self._shape)
            except ValueError as error:
                raise OutOfForm(
                    f"its answer has not the form that was asked for: {error}"
                ) from None

    async def aclose(self) -> None:
        await self._stream.aclose()


def _named_choice(call: Call) -> Choice | None:
    """Whose answer is wanted where nobody can be asked: the caller has named the model's file in full."""
    model, file = split_file(call.model)
    return Choice("", model, file) if len(file) == _FILE_DIGITS else None


async def _fits(answer: JsonObject, shape: Shape) -> bool:
    """Whether an answer that others share has the form."""
    try:
        return await _fit_all(answer, shape) == answer
    except ValueError:
        return False


def _shape(call: Call) -> Shape | None:
    try:
        return shape_of(call)
    except BadRequest as error:
        raise Refused(Decision(call.model, (), (), is_known=True), error) from error


async def _fit_all(answer: JsonObject, shape: Shape) -> JsonObject:
    """The answer with nothing but JSON as its texts. Raises `ValueError`."""
    choices = []
    for choice in answer["choices"]:
        message = choice["message"]
        if choice.get("finish_reason") in _UNCHECKED or message.get("refusal"):
            choices.append(choice)
            continue
        text = await trio.to_thread.run_sync(fitted, message.get("content") or "", shape)
        choices.append({**choice, "message": {**message, "content": text}})
    return {**answer, "choices": choices}


def _with_n(call: Call, number: int) -> Call:
    """One answer is asked for without saying so: not every server knows the word."""
    body = {key: value for key, value in call.body.items() if key != "n"}
    if number > 1:
        body["n"] = number
    return msgspec.structs.replace(call, body=body)


def _summed(answers: list[JsonObject]) -> JsonObject:
    usages = [answer.get("usage") or {} for answer in answers]
    total = {name: sum(usage.get(name) or 0 for usage in usages) for name in _COUNTS}
    return {**usages[-1], **total}


def _with_answer(routed: Routed[JsonObject] | Routed[RoutedStream], answer: T) -> Routed[T]:
    return Routed(answer, routed.server, routed.model, routed.decision, routed.cache)
