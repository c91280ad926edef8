"""A stream whose server is lost in the middle, and another one that goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from inference.backends.openai import OpenAiServer
from inference.backends.router import ModelRouter
from inference.backends.servers import ServerSettings
from inference.chat import Call, CallKind, JsonObject
from inference.continuing import ContinuedStream, may_continue
from inference.failures import Broken
from inference.selection import ServerKind
from tests.inference.servers import ModelServer, Speak, chunks_of, model_server

ASKED: JsonObject = {"messages": [{"role": "user", "content": "Count."}], "max_tokens": 10}


def call(**more: object) -> Call:
    return Call(CallKind.CHAT, "m", {**ASKED, **more}, continues=True)


@asynccontextmanager
async def two() -> AsyncIterator[tuple[ModelRouter, ModelServer, ModelServer]]:
    async with model_server() as first, model_server() as second:
        servers = [
            OpenAiServer(ServerSettings(name=name, url=one.url, kind=ServerKind.OPENAI))
            for name, one in (("first", first), ("second", second))
        ]
        async with ModelRouter(servers, on_breaker=lambda _name, _change: None) as router:
            yield router, first, second


async def read(router: ModelRouter, asked: Call) -> list[JsonObject]:
    return await chunks_of(ContinuedStream(router, asked, await router.open_stream(asked)))


def text(chunks: list[JsonObject]) -> str:
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


async def test_another_server_goes_on_from_what_stands_there_and_says_so() -> None:
    async with two() as (router, first, second):
        first.acts = [Speak("one two three four", die_after=2)]
        second.acts = [Speak("three four")]
        chunks = await read(router, call())
        assert text(chunks) == "one two three four "
        assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}
        assert sum("role" in chunk["choices"][0]["delta"] for chunk in chunks) == 1
        (seam,) = [chunk["bizra_continued"] for chunk in chunks if "bizra_continued" in chunk]
        assert (seam["server"], seam["after_chars"]) == ("second", len("one two "))
        assert "first" in seam["lost"]
        (_, body) = second.asked[-1]
        assert body["messages"][-1] == {"role": "assistant", "content": "one two "}
        assert body["max_tokens"] < 10


async def test_when_nobody_can_go_on_the_first_failure_is_told() -> None:
    async with two() as (router, first, second):
        first.acts = [Speak("one two three", die_after=2)]
        second.acts = [Speak("three", die_after=0)]
        with pytest.raises(Broken):
            await read(router, call())


async def test_an_answer_that_has_ended_is_not_continued() -> None:
    async with two() as (router, first, second):
        first.acts = [Speak("one two")]
        assert text(await read(router, call())) == "one two "
        assert not second.asked


@pytest.mark.parametrize(
    "more",
    [{"tools": [{"type": "function"}]}, {"n": 2}, {"response_format": {"type": "json_object"}}],
)
def test_calls_of_tools_forms_and_several_answers_are_never_continued(more: JsonObject) -> None:
    assert may_continue(call())
    assert not may_continue(call(**more))
    assert not may_continue(Call(CallKind.CHAT, "m", ASKED))
