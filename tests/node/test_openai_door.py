"""The `openai` client, unchanged, against a node with real model servers behind it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
import trio
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from inference.backends import wire
from inference.breaker import BreakerLimits, BreakerState
from tests.inference.servers import Act, HangUp, Raw, Silence, Speak, Status, model_server
from tests.node.model_gateway import ModelGateway, model_gateway

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
MANUAL = "The warranty lasts two years. Rye ferments faster than wheat. The tower is 40 m high."
GARBAGE: list[Act] = [
    Raw(b"<html>busy</html>", "text/html"),
    Raw(b'{"choices": [{"ind', "application/json"),
    Raw(b'data: {"choices": [{"ind\n\n', "text/event-stream"),
    Raw(b"[]", "application/json"),
    Raw(b"", "text/event-stream"),
    Raw(b'data: {"choices": "none"}\n\n', "text/event-stream"),
    HangUp(),
    Silence(),
    Speak(finish=False, text=""),
    Speak(named="another"),
    Speak(die_after=0),
    Speak(fault_after=0),
    Status(302),
    Status(401),
    Status(404),
    Status(500),
    Status(503, retry_after="0"),
]

PLAIN_GARBAGE = [
    act for act in GARBAGE if not isinstance(act, Speak) or act.die_after is act.fault_after is None
]
"""Without those that misbehave in streams only."""


async def ask(gateway: ModelGateway, **more: Any) -> str:  # noqa: ANN401 - what the client takes
    answer = await gateway.openai.chat.completions.create(
        model=more.pop("model", "m"), messages=more.pop("messages", HELLO), **more
    )
    return str(answer.choices[0].message.content)


async def streamed(gateway: ModelGateway, parts: list[str], **more: Any) -> None:  # noqa: ANN401 - as above
    for chunk in await chunks_of(gateway, parts, **more):
        assert chunk.model


async def chunks_of(
    gateway: ModelGateway,
    parts: list[str],
    **more: Any,  # noqa: ANN401 - as above
) -> list[ChatCompletionChunk]:
    """All chunks; what they say is in `parts` even if the stream breaks."""

    def read() -> list[ChatCompletionChunk]:
        chunks = []
        create = gateway.waiting.chat.completions.create
        with create(model=more.pop("model", "m"), messages=HELLO, stream=True, **more) as stream:
            for chunk in stream:
                chunks.append(chunk)
                parts.extend(choice.delta.content or "" for choice in chunk.choices)
        return chunks

    return await trio.to_thread.run_sync(read)


@pytest.mark.parametrize("protocol", ["openai", "ollama"])
async def test_chat_streamed_and_plain(home_path: Path, protocol: str) -> None:
    async with model_server(protocol) as server, model_gateway(home_path, [server]) as gateway:
        answer = await gateway.openai.chat.completions.create(model="m", messages=HELLO)
        assert answer.choices[0].message.content == "one two three "
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.total_tokens == 10
        parts: list[str] = []
        chunks = await chunks_of(gateway, parts, stream_options={"include_usage": True})
        assert "".join(parts) == "one two three "
        assert chunks[0].choices[0].delta.role == "assistant"
        assert len({chunk.id for chunk in chunks}) == 1
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].choices == []
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 3


@pytest.mark.parametrize("protocol", ["openai", "ollama"])
async def test_completions(home_path: Path, protocol: str) -> None:
    async with model_server(protocol) as server, model_gateway(home_path, [server]) as gateway:
        plain = await gateway.openai.completions.create(model="m", prompt="say")
        assert plain.choices[0].text == "one two three "

        def read() -> str:
            with gateway.waiting.completions.create(model="m", prompt="say", stream=True) as stream:
                return "".join(chunk.choices[0].text for chunk in stream)

        assert await trio.to_thread.run_sync(read) == "one two three "


async def test_what_this_node_has_no_name_for_reaches_the_server(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}
        server.acts = [Speak('{"a": 1}')]
        await ask(gateway, response_format=schema, extra_body={"top_k": 7}, n=2, logprobs=True)
        (_, body) = server.asked[0]
        assert body["top_k"] == 7
        assert body["response_format"] == schema
        assert (body["n"], body["logprobs"]) == (2, True)


async def test_settings_reach_an_ollama_server_in_its_own_words(home_path: Path) -> None:
    async with model_server("ollama") as server, model_gateway(home_path, [server]) as gateway:
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        await ask(gateway, max_tokens=5, temperature=0, stop=["x"], tools=[tool])
        (path, body) = server.asked[0]
        assert path == "/api/chat"
        assert body["options"] == {"num_predict": 5, "temperature": 0, "stop": ["x"]}
        assert body["tools"] == [tool]


@pytest.mark.parametrize("protocol", ["openai", "ollama"])
async def test_embeddings_of_a_server(home_path: Path, protocol: str) -> None:
    async with model_server(protocol) as server, model_gateway(home_path, [server]) as gateway:
        texts = ["a", "bcd"]
        for form in ({}, {"encoding_format": "float"}):
            answer = await gateway.openai.embeddings.create(model="m", input=texts, **form)  # type: ignore[arg-type]
            assert [row.embedding for row in answer.data] == [[1, 0.5, -1], [3, 0.5, -1]]
            assert answer.usage.prompt_tokens == 2


async def test_embeddings_of_the_embedded_model(home_path: Path) -> None:
    async with model_gateway(home_path) as gateway:
        create = gateway.openai.embeddings.create
        packed = await create(model="all-MiniLM-L6-v2", input="a text")
        plain = await create(
            model="all-MiniLM-L6-v2", input=["other", "a text"], encoding_format="float"
        )
        assert len(packed.data[0].embedding) == 384
        assert packed.data[0].embedding == pytest.approx(plain.data[1].embedding, abs=1e-5)
        assert packed.usage.prompt_tokens == 2
        with pytest.raises(openai.BadRequestError) as caught:
            await create(model="all-MiniLM-L6-v2", input=["short", "long " * 500])
        assert caught.value.code == "context_length_exceeded"
        assert "[1]" in caught.value.message
        with pytest.raises(openai.BadRequestError, match="384"):
            await create(model="all-MiniLM-L6-v2", input="a", dimensions=7)
        with pytest.raises(openai.BadRequestError, match="embeddings only"):
            await ask(gateway, model="all-MiniLM-L6-v2")


async def test_models(home_path: Path) -> None:
    async with (
        model_server(models=("m", "org/n")) as a,
        model_server("ollama", models=("m",)) as b,
        model_gateway(home_path, [a, b]) as gateway,
    ):
        listed = {model.id: model.owned_by async for model in gateway.openai.models.list()}
        assert listed == {
            "auto": "bizra-node", "m": "a", "org/n": "a", "bizra-extractive": "embedded",
            "all-MiniLM-L6-v2": "embedded",
        }  # fmt: skip
        assert (await gateway.openai.models.retrieve("org/n")).owned_by == "a"
        with pytest.raises(openai.NotFoundError) as caught:
            await gateway.openai.models.retrieve("q")
        assert caught.value.code == "model_not_found"
        assert (a.probes, b.probes) == (1, 1)


async def test_an_unknown_model_is_not_found_and_nobody_is_asked(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        for stream in (False, True):
            with pytest.raises(openai.NotFoundError) as caught:
                await ask(gateway, model="gpt-4o", stream=stream)
            assert caught.value.code == "model_not_found"
            assert caught.value.param == "model"
        assert server.asked == []


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b"[]", 400, None),
        (b'{"messages": [{"role": "user"}]}', 422, "model"),
        (b'{"model": "m"}', 422, "messages"),
        (b'{"model": "m", "messages": []}', 422, "messages"),
        (b'{"model": 5, "messages": [{"role": "user"}]}', 422, "model"),
        (b'{"model": "m", "messages": [{"role": "king"}]}', 422, "messages"),
        (b'{"model":"m","messages":[{"role":"user"}],"max_tokens":"9"}', 422, "max_tokens"),
        (b'{"model":"m","messages":[{"role":"user"}],"stream":"yes"}', 422, "stream"),
        (b"[" * 200_000, 400, None),
        (b"\xff\xfe", 400, None),
    ],
)
async def test_a_wrong_request_is_told_in_openais_form(
    home_path: Path, body: bytes, status: int, param: str | None
) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        response = await gateway.http.post("/v1/chat/completions", content=body)
        error = response.json()["error"]
        assert response.status_code == status
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["param"] == param
        assert server.asked == []


async def test_the_guard_stands_and_unknown_paths_are_told(home_path: Path) -> None:
    async with model_gateway(home_path) as gateway:
        response = await gateway.http.get("/v1/models", headers={"Host": "evil.example"})
        assert response.status_code == 403
        response = await gateway.http.post("/v1/nothing", json={})
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "unknown_path"


async def test_a_servers_refusal_is_passed_on_and_not_tried_elsewhere(home_path: Path) -> None:
    async with (
        model_server() as a,
        model_server() as b,
        model_gateway(home_path, [a, b]) as gateway,
    ):
        a.acts = [Status(400, "this model's maximum context length is 8 tokens"), Status(422, "no")]
        with pytest.raises(openai.BadRequestError) as caught:
            await ask(gateway)
        assert caught.value.code == "context_length_exceeded"
        with pytest.raises(openai.UnprocessableEntityError):
            await ask(gateway)
        assert b.asked == []


@pytest.mark.parametrize(
    ("act", "stream"), [*((act, True) for act in GARBAGE), *((act, False) for act in PLAIN_GARBAGE)]
)
async def test_a_server_in_trouble_is_replaced_unseen(
    home_path: Path, act: Act, stream: bool
) -> None:
    async with (
        model_server() as bad,
        model_server("ollama") as good,
        model_gateway(home_path, [bad, good], timeout_s=0.3) as gateway,
    ):
        bad.acts = [act]
        if stream:
            parts: list[str] = []
            await streamed(gateway, parts)
            assert "".join(parts) == "one two three "
        else:
            assert await ask(gateway) == "one two three "
        assert len(bad.asked) == len(good.asked) == 1


@pytest.mark.parametrize("protocol", ["openai", "ollama"])
@pytest.mark.parametrize(
    "act",
    [
        Speak(die_after=2),
        Speak(fault_after=2),
        Speak(finish=False),
        Speak(wait_after=2),
        Speak("a " * 2 + "b" * 5_000_000),
    ],
    ids=["dies", "tells an error", "has no end", "falls silent", "a line too long"],
)
async def test_a_stream_that_breaks_after_its_first_token_never_looks_whole(
    home_path: Path, protocol: str, act: Act
) -> None:
    async with (
        model_server(protocol) as bad,
        model_server() as good,
        model_gateway(
            home_path, [bad, good][: 2 if protocol == "openai" else 1], timeout_s=0.3
        ) as gateway,
    ):
        bad.acts = [act]
        parts: list[str] = []
        with pytest.raises(openai.APIError, match="the answer is cut"):
            await streamed(gateway, parts)
        assert parts[0].split() or parts[1].split()
        assert good.asked == []


async def test_a_busy_server_is_asked_again_after_the_time_it_names(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        server.acts = [Status(429, retry_after="0.01"), Status(503), Speak()]
        assert await ask(gateway) == "one two three "
        assert len(server.asked) == 3


async def test_after_five_attempts_the_caller_is_told_not_to_try_again(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        server.acts = [Status(429, "slow down", retry_after="0")]
        with pytest.raises(openai.RateLimitError, match="slow down") as caught:
            await ask(gateway)
        assert len(server.asked) == 5
        assert caught.value.response.headers["x-should-retry"] == "false"


async def test_a_server_that_wants_peace_for_long_is_left_in_peace(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        server.acts = [Status(429, retry_after="3600")]
        with pytest.raises(openai.RateLimitError) as caught:
            await ask(gateway)
        assert len(server.asked) == 1
        assert caught.value.response.headers["retry-after"] == "3600"


async def test_a_silent_server_is_a_timeout(home_path: Path) -> None:
    async with (
        model_server() as server,
        model_gateway(home_path, [server], timeout_s=0.05) as gateway,
    ):
        server.acts = [Silence()]
        with pytest.raises(openai.InternalServerError) as caught:
            await ask(gateway)
        assert caught.value.status_code == 504
        assert caught.value.code == "backend_timeout"


async def test_the_breaker_opens_and_closes_again(home_path: Path) -> None:
    limits = BreakerLimits(open_ms=100, successes_to_close=1)
    async with (
        model_server() as server,
        model_gateway(home_path, [server], breaker=limits) as gateway,
    ):
        server.acts = [HangUp()]
        with pytest.raises(openai.InternalServerError):
            await ask(gateway)
        patient = gateway.openai.with_options(max_retries=0)
        with pytest.raises(openai.InternalServerError) as caught:
            await patient.chat.completions.create(model="m", messages=HELLO)
        assert caught.value.status_code == 503
        assert caught.value.code == "model_unavailable"
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert len(server.asked) == 5
        server.acts = [Speak()]
        # The client waits as long as `retry-after` says, which is longer than the breaker is open.
        assert await ask(gateway) == "one two three "
        states = [change.after for _, change in gateway.breakers]
        assert states == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]


async def test_an_answer_without_end_is_cut_and_never_looks_whole(
    home_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MAX_ANSWER_BYTES", 4_000)
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        server.acts = [Speak("word " * 2_000)]
        asked = {"model": "m", "messages": HELLO}
        streamed = await gateway.http.post("/v1/chat/completions", json={**asked, "stream": True})
        assert "[DONE]" not in streamed.text
        assert "more than 4,000 bytes" in streamed.text.splitlines()[-2]
        whole = await gateway.http.post("/v1/chat/completions", json=asked)
        assert (whole.status_code, whole.json()["error"]["code"]) == (502, "backend_garbled")


@pytest.mark.parametrize("protocol", ["openai", "ollama"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_hangs_up_stops_the_server(
    home_path: Path, protocol: str, stream: bool
) -> None:
    async with model_server(protocol) as server, model_gateway(home_path, [server]) as gateway:
        server.acts = [Speak(wait_after=1) if stream else Silence()]
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                body = {"model": "m", "messages": HELLO, "stream": stream}
                nursery.start_soon(partial(gateway.http.post, "/v1/chat/completions", json=body))
                await server.waiting.wait()
                nursery.cancel_scope.cancel()
            await server.hung_up.wait()


async def test_without_a_model_server_auto_quotes_and_says_so(home_path: Path) -> None:
    messages = [
        {"role": "system", "content": MANUAL},
        {"role": "user", "content": "How long does the warranty last?"},
    ]
    async with model_gateway(home_path) as gateway:
        answer = await gateway.openai.chat.completions.create(model="auto", messages=messages)  # type: ignore[arg-type]
        content = str(answer.choices[0].message.content)
        assert answer.model == "bizra-extractive"
        assert "No language model" in content
        assert "The warranty lasts two years. [1]" in content
        (citation, *_) = answer.choices[0].message.citations  # type: ignore[attr-defined]
        assert MANUAL[citation["start"] : citation["end"]] == citation["text"]
        parts: list[str] = []
        await streamed(gateway, parts, model="bizra-extractive")
        assert "no text to quote from" in "".join(parts)
        with pytest.raises(openai.BadRequestError, match="is no language model"):
            await ask(gateway, model="auto", response_format={"type": "json_object"})
        refused = await gateway.http.post(
            "/v1/chat/completions",
            json={"model": "auto", "messages": messages},
            headers={"x-bizra-extractive": "0"},
        )
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (503, "model_unavailable")
        assert "the caller wants no quotations" in error["message"]
        assert int(refused.headers["retry-after"]) > 0


async def test_auto_asks_a_model_server_while_there_is_one(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        assert await ask(gateway, model="auto") == "one two three "
        server.acts = [HangUp()]
        assert "No language model" in await ask(gateway, model="auto")


async def test_who_asks_is_told_why_a_server_was_chosen(home_path: Path) -> None:
    async with (
        model_server() as a,
        model_server(models=("n",)) as b,
        model_gateway(home_path, [a, b]) as gateway,
    ):
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        answer = await gateway.http.post(
            "/v1/chat/completions", json=body, headers={"X-Bizra-Explain": "1"}
        )
        told = {line["server"]: line["verdict"] for line in answer.json()["bizra"]["considered"]}
        assert told == {"a": "chosen", "b": "no_model", "embedded": "no_model"}
        assert answer.headers["x-bizra-backend"] == "a"
        plain = await gateway.http.post("/v1/chat/completions", json=body)
        assert "bizra" not in plain.json()


async def test_a_request_beyond_what_the_model_reads_goes_to_who_reads_more(
    home_path: Path,
) -> None:
    async with (
        model_server() as small,
        model_server() as large,
        model_gateway(home_path, [small, large]) as gateway,
    ):
        small.card, large.card = {"max_model_len": 100}, {"max_model_len": 100_000}
        long: list[ChatCompletionMessageParam] = [{"role": "user", "content": "word " * 1000}]
        await ask(gateway, messages=long)
        assert (len(small.asked), len(large.asked)) == (0, 1)
        too_long: list[ChatCompletionMessageParam] = [
            {"role": "user", "content": "word " * 500_000}
        ]
        with pytest.raises(openai.BadRequestError, match=r"reads \d+ tokens") as caught:
            await ask(gateway, messages=too_long)
        assert caught.value.code == "context_length_exceeded"
        assert (len(small.asked), len(large.asked)) == (0, 1)


async def test_what_is_refused_at_the_gate_is_told_in_the_clients_form(home_path: Path) -> None:
    async with model_gateway(home_path) as gateway:
        foreign = {"Origin": "http://evil.example"}
        told = await gateway.http.get("/v1/models", headers=foreign)
        assert told.status_code == 403
        assert told.json()["error"]["code"] == "wrong_origin"
        told = await gateway.http.get("/api/tags", headers=foreign)
        assert told.json() == {"error": "pages of other sites may not use this node"}
