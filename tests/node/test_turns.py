"""How many requests one caller has under way at once."""

from __future__ import annotations

import trio
import trio.testing
from starlette.responses import Response

from inference.answer_cache import Asker
from inference.chat import Call, CallKind
from node.gateway.answering import Listener
from node.gateway.openai_form import OpenAiError
from node.gateway.or_wait import OrWait
from node.gateway.turns import Turns


async def _nobody(_message: object) -> None: ...


def told(error: OpenAiError) -> Response:
    return error.response()


async def test_a_caller_that_has_as_many_as_it_may_is_told_and_others_are_served() -> None:
    door, go_on = OrWait(None, Turns(2), told), trio.Event()
    answers: list[Response | None] = []

    async def work(_listener: Listener) -> Response | None:
        await go_on.wait()
        return Response("done")

    async def ask(key: str) -> None:
        call = Call(CallKind.CHAT, "m", {})
        answers.append(await door(call, {}, Asker(key), work)(Listener(_nobody)))

    async with trio.open_nursery() as nursery:
        for key in ("a", "a", "b"):
            nursery.start_soon(ask, key)
        await trio.testing.wait_all_tasks_blocked()
        await ask("a")
        (refused,) = answers
        assert refused is not None
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert b"rate_limit_error" in refused.body
        go_on.set()
    await ask("a")
    assert [one.status_code for one in answers if one is not None] == [429, 200, 200, 200, 200]
