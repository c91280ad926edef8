"""`/v1/responses` with the `openai` client, unchanged; and every chunk's way to events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest
import trio
from openai.types.responses import Response, ResponseStreamEvent

from node.gateway.responses_form import response_head
from node.gateway.responses_stream import ResponseEvents
from tests.inference.servers import Speak, model_server
from tests.node.model_gateway import ModelGateway, model_gateway

TOOL: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object"},
    "strict": False,
}


async def respond(gateway: ModelGateway, **more: Any) -> Response:  # noqa: ANN401 - what the client takes
    given = {"model": "m", "input": "hello", **more}
    response: Response = await gateway.openai.responses.create(**given)
    return response


async def streamed(
    gateway: ModelGateway,
    seen: list[ResponseStreamEvent],
    **more: Any,  # noqa: ANN401 - as above
) -> None:
    def read() -> None:
        with gateway.waiting.responses.create(
            model="m", input="hello", stream=True, **more
        ) as stream:
            seen.extend(stream)

    await trio.to_thread.run_sync(read)


@pytest.mark.parametrize("protocol", ["openai", "ollama"])
async def test_a_plain_response(home_path: Path, protocol: str) -> None:
    async with model_server(protocol) as server, model_gateway(home_path, [server]) as gateway:
        response = await respond(gateway, instructions="Be short.", max_output_tokens=9)
        assert response.output_text == "one two three "
        assert response.status == "completed"
        assert response.usage is not None
        assert (response.usage.input_tokens, response.usage.output_tokens) == (7, 3)
        _, asked = server.asked[0]
        assert asked["messages"][0] == {"role": "system", "content": "Be short."}


async def test_a_conversation_with_tools_reaches_the_server_in_chat_s_form(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        items = [
            {"role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        ]
        form = {"format": {"type": "json_object"}}
        server.acts = [Speak('{"a": 1}')]
        await respond(gateway, input=items, tools=[TOOL], text=form)
        _, asked = server.asked[0]
        assert asked["messages"][0] == {"role": "user", "content": "weather?"}
        assert asked["messages"][1]["tool_calls"][0]["function"]["name"] == "weather"
        assert asked["messages"][2] == {
            "role": "tool",
            "tool_call_id": "c1",
            "content": "sunny",
        }
        assert asked["tools"][0]["function"]["name"] == "weather"
        assert asked["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("protocol", ["openai", "ollama"])
async def test_a_streamed_response_has_typed_events(home_path: Path, protocol: str) -> None:
    async with model_server(protocol) as server, model_gateway(home_path, [server]) as gateway:
        seen: list[ResponseStreamEvent] = []
        await streamed(gateway, seen)
        kinds = [event.type for event in seen]
        assert kinds[:4] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
        ]
        assert kinds.count("response.output_text.delta") == 3
        assert kinds[-4:] == [
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        assert [event.sequence_number for event in seen] == list(range(len(seen)))
        last = seen[-1]
        assert last.type == "response.completed"
        assert last.response.output_text == "one two three "
        assert last.response.usage is not None
        assert last.response.usage.total_tokens == 10


@pytest.mark.parametrize("act", [Speak(die_after=1), Speak(fault_after=1), Speak(finish=False)])
async def test_a_broken_stream_fails_and_never_completes(home_path: Path, act: Speak) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        server.acts = [act]
        seen: list[ResponseStreamEvent] = []
        with pytest.raises(openai.APIError, match="the answer is cut"):
            await streamed(gateway, seen)
        assert "response.completed" not in {event.type for event in seen}
        assert seen[-1].type == "response.failed"


@pytest.mark.parametrize(
    ("request_body", "status", "param"),
    [
        ({"previous_response_id": "resp_1"}, 400, "previous_response_id"),
        ({"tools": [{"type": "web_search"}]}, 400, "tools"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, 400, "input"),
        ({"input": []}, 422, "input"),
        ({"input": 5}, 422, "input"),
        ({"temperature": 9}, 422, "temperature"),
        ({"model": "unknown"}, 404, "model"),
    ],
)
async def test_what_is_wrong_or_not_there_is_told(
    home_path: Path, request_body: dict[str, Any], status: int, param: str
) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        body = {"model": "m", "input": "hello", **request_body}
        answer = await gateway.http.post("/v1/responses", json=body)
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["param"] == param
        assert server.asked == []


def test_text_and_calls_become_items_in_order() -> None:
    events = ResponseEvents(response_head("resp_1", 5, "m", {}))
    said = list(events.begin())
    for choice in (
        {"delta": {"role": "assistant", "content": "a"}},
        {
            "delta": {
                "tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}]
            }
        },
        {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]}},
        {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}},
        {"delta": {"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "g"}}]}},
        {"delta": {}, "finish_reason": "tool_calls"},
    ):
        said.extend(events.take({"choices": [choice]}))
    said.extend(events.end())
    output = said[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "function_call"]
    assert output[1]["arguments"] == '{"x":1}'
    assert output[2]["call_id"] == "c2"
    assert said[-1]["type"] == "response.completed"


def test_an_answer_cut_at_its_limit_is_incomplete() -> None:
    events = ResponseEvents(response_head("resp_1", 5, "m", {}))
    list(events.take({"choices": [{"delta": {"content": "a"}, "finish_reason": "length"}]}))
    last = list(events.end())[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
