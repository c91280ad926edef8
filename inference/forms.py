"""Answers in the form that was asked for: `response_format` is checked here, whatever a server makes of it.

1. One that does not fit is asked for once more, with what is wrong with it; if that fails too, the caller is
   told and never gets it as if it fitted.
2. `n` answers are collected one by one from servers that give one at a time.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
import trio

from inference.backend import BackendError
from inference.backends.passing import pass_chunks
from inference.backends.router import ModelRouter, Refused, Routed, RoutedStream
from inference.backends.servers import Take
from inference.chat import Call, JsonObject
from inference.failures import BadRequest, ContextOverflow, Garbled
from inference.selection import Decision
from inference.structured import Shape, fitted, repair_call, shape_of

_UNCHECKED: Final = frozenset({"length", "tool_calls", "function_call", "content_filter"})
"""Answers that ended for these reasons are no whole texts."""
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")

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


class FormedAnswers:
    """Whole answers of a router."""

    def __init__(self, router: ModelRouter) -> None:
        self._router = router

    async def complete(self, call: Call, shape: Shape | None) -> Routed[JsonObject]:
        """An answer of this shape. Raises as the router does, and `FormFailure`."""
        routed = await self._all_choices(call)
        return routed if shape is None else await self._fitting(call, routed, shape)

    async def _all_choices(self, call: Call) -> Routed[JsonObject]:
        wanted = call.body.get("n") or 1
        if wanted == 1:
            return await self._router.complete(call)
        try:
            routed = await self._router.complete(_with_n(call, wanted))
        except Refused as refused:
            if isinstance(refused.failure, ContextOverflow):
                raise
            # So many at once may be what it refuses: llama.cpp's server gives no more than it has slots.
            routed = await self._router.complete(_with_n(call, 1))
        choices, answers = list(routed.answer["choices"]), [routed.answer]
        more_ms = 0
        while len(choices) < wanted:
            one = await self._router.complete(_with_n(call, 1))
            answer, more_ms = one.answer, more_ms + one.took_ms
            answers.append(answer)
            choices.append({**answer["choices"][0], "index": len(choices)})
        summed = {**routed.answer, "choices": choices[:wanted], "usage": _summed(answers)}
        return with_answer(routed, summed, more_ms=more_ms)

    async def _fitting(
        self, call: Call, routed: Routed[JsonObject], shape: Shape
    ) -> Routed[JsonObject]:
        try:
            return with_answer(routed, await _fit_all(routed.answer, shape))
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
        usage = _summed([routed.answer, again.answer])
        return with_answer(again, {**fits, "usage": usage}, more_ms=routed.took_ms)


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

    async def pass_on(self, take: Take, _framed: Take | None = None, /) -> bytes | None:
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


async def fits(answer: JsonObject, shape: Shape) -> bool:
    """Whether an answer that others share has the form."""
    try:
        return await _fit_all(answer, shape) == answer
    except ValueError:
        return False


def shape_wanted(call: Call) -> Shape | None:
    """What form a caller wants. Raises `Refused` for one that nobody can check."""
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


def with_answer(
    routed: Routed[JsonObject] | Routed[RoutedStream], answer: T, *, more_ms: int = 0
) -> Routed[T]:
    """The same with another answer, that was so much longer in hand."""
    took_ms = routed.took_ms + more_ms
    return Routed(answer, routed.server, routed.model, routed.decision, routed.cache, took_ms)
