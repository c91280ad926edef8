"""The `ollama` client, unchanged, against a node; the servers behind it speak either protocol."""

from __future__ import annotations

from pathlib import Path

import ollama
import pytest
import trio

from tests.inference.servers import HangUp, Raw, Speak, Status, model_server
from tests.node.model_gateway import ModelGateway, model_gateway

HELLO = [{"role": "user", "content": "hello"}]
TOOL_CALL = (
    b'{"id": "x", "model": "m", "choices": [{"index": 0, "finish_reason": "tool_calls", "message":'
    b'{"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function",'
    b'"function": {"name": "add", "arguments": "{\\"a\\": 1}"}}]}}]}'
)


async def lines(
    gateway: ModelGateway, method: str = "chat", **asked: object
) -> list[dict[str, object]]:
    """A stream as the client gives it, in a thread: the client for Trio leaves generators open."""

    def read() -> list[dict[str, object]]:
        with ollama.Client(gateway.url) as client:
            return [dict(one) for one in getattr(client, method)(model="m", stream=True, **asked)]

    return await trio.to_thread.run_sync(read)


@pytest.mark.parametrize("protocol", ["openai", "ollama"])
async def test_chat_and_generate_streamed_and_plain(home_path: Path, protocol: str) -> None:
    async with (
        model_server(protocol) as server,
        model_gateway(home_path, [server]) as gateway,
        ollama.AsyncClient(gateway.url) as client,
    ):
        chat = await client.chat(model="m", messages=HELLO)
        assert chat.message.content == "one two three "
        assert (chat.done, chat.done_reason, chat.eval_count) == (True, "stop", 3)
        generated = await client.generate(model="m", prompt="hello", system="be brief")
        assert generated.response == "one two three "
        streamed = await lines(gateway, messages=HELLO)
        assert "".join(str(one["message"].content) for one in streamed) == "one two three "  # type: ignore[attr-defined]
        assert [one["done"] for one in streamed] == [False, False, False, True]
        assert streamed[-1]["eval_count"] == 3
        parts = await lines(gateway, "generate", prompt="hello")
        assert "".join(str(one["response"]) for one in parts) == "one two three "


async def test_embed_and_tags(home_path: Path) -> None:
    async with (
        model_server() as server,
        model_gateway(home_path, [server]) as gateway,
        ollama.AsyncClient(gateway.url) as client,
    ):
        answer = await client.embed(model="m", input=["a", "bcd"])
        assert answer.embeddings == [[1, 0.5, -1], [3, 0.5, -1]]
        own = await client.embed(model="all-MiniLM-L6-v2", input="many words " * 300)
        assert len(own.embeddings[0]) == 384
        with pytest.raises(ollama.ResponseError, match="longer than"):
            await client.embed(model="all-MiniLM-L6-v2", input="w " * 600, truncate=False)
        listed = [model.model for model in (await client.list()).models]
        assert listed == ["auto", "m", "bizra-extractive", "all-MiniLM-L6-v2"]


async def test_options_and_schemas_reach_either_kind_of_server(home_path: Path) -> None:
    schema = {"type": "object"}
    options = {"temperature": 0.5, "num_predict": 9, "num_ctx": 4096}
    async with (
        model_server() as a,
        model_server("ollama", models=("n:latest",)) as b,
        model_gateway(home_path, [a, b]) as gateway,
        ollama.AsyncClient(gateway.url) as client,
    ):
        a.acts, b.acts = [Speak("{}")], [Speak("{}")]
        for model in ("m", "n"):
            await client.chat(model=model, messages=HELLO, options=options, format=schema)
        openai_body, ollama_body = a.asked[0][1], b.asked[0][1]
        assert (openai_body["temperature"], openai_body["max_tokens"]) == (0.5, 9)
        assert openai_body["response_format"]["json_schema"]["schema"] == schema
        assert ollama_body["options"] == options
        assert ollama_body["format"] == schema


async def test_tool_calls_come_in_ollamas_form(home_path: Path) -> None:
    async with (
        model_server() as server,
        model_gateway(home_path, [server]) as gateway,
        ollama.AsyncClient(gateway.url) as client,
    ):
        server.acts = [Raw(TOOL_CALL)]
        calls = (await client.chat(model="m", messages=HELLO)).message.tool_calls
        assert calls is not None
        (call,) = calls
        assert (call.function.name, call.function.arguments) == ("add", {"a": 1})


async def test_errors_come_in_ollamas_form(home_path: Path) -> None:
    async with (
        model_server() as server,
        model_gateway(home_path, [server]) as gateway,
        ollama.AsyncClient(gateway.url) as client,
    ):
        with pytest.raises(ollama.ResponseError, match="there is no model 'n'") as caught:
            await client.chat(model="n", messages=HELLO)
        assert caught.value.status_code == 404
        with pytest.raises(ollama.ResponseError) as caught:
            await client.generate(model="m", prompt="x", raw=True)
        assert caught.value.status_code == 400
        server.acts = [Status(400, "too long"), HangUp()]
        with pytest.raises(ollama.ResponseError, match="too long"):
            await client.chat(model="m", messages=HELLO)
        with pytest.raises(ollama.ResponseError) as caught:
            await client.chat(model="m", messages=HELLO)
        assert caught.value.status_code == 502


@pytest.mark.parametrize("protocol", ["openai", "ollama"])
async def test_a_broken_stream_ends_with_an_error(home_path: Path, protocol: str) -> None:
    async with model_server(protocol) as server, model_gateway(home_path, [server]) as gateway:
        server.acts = [Speak(die_after=2)]
        with pytest.raises(ollama.ResponseError, match="the answer is cut"):
            await lines(gateway, messages=HELLO)
