"""Servers that talk rubbish when a caller has seen a part of the answer already, at every door that streams.

What they do before the first token is the matter of `test_openai_door.py`: there nobody sees it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from inference.backends import wire
from inference.breaker import BreakerLimits
from inference.failures import Broken, Failure, Garbled, Overloaded, Silent, WrongModel
from tests.inference.servers import ModelServer, Speak, Status, model_server
from tests.node.model_gateway import ModelGateway, model_gateway

HELLO: Final = [{"role": "user", "content": "hello"}]
DOORS: Final[dict[str, dict[str, Any]]] = {
    "/v1/chat/completions": {"messages": HELLO, "stream": True},
    "/v1/completions": {"prompt": "hello", "stream": True},
    "/v1/responses": {"input": "hello", "stream": True},
    "/api/chat": {"messages": HELLO},
    "/api/generate": {"prompt": "hello"},
}
ALL_DOORS: Final = (*DOORS, "/v1/embeddings", "/api/embed")
SEEN: Final = "two"
"""The last word that comes before the rubbish."""

OPENAI_RUBBISH: Final = {
    "half a JSON": (b'data: {"choices": [{"ind\n\n', Garbled),
    "half an event": (b'data: {"id": "x1", "choices": []}', Broken),
    "HTML": (b"<html><body>502</body></html>\n\n", Broken),
    "HTML as data": (b"data: <html>\n\n", Garbled),
    "a list": (b"data: [1]\n\n", Garbled),
    "choices of a wrong type": (b'data: {"choices": 5}\n\n', Garbled),
    "no choices": (b"data: {}\n\n", Garbled),
    "no UTF-8": (b'data: {"choices": [], "x": "\xff"}\n\n', Garbled),
    "another model": (b'data: {"model": "other", "choices": []}\n\n', WrongModel),
    "an error of a proxy": (b'data: {"error": "upstream"}\n\n', Overloaded),
    "an end without a reason": (b"data: [DONE]\n\n", Broken),
    "nothing": (b": ping\n\n", Broken),
    "very deep": (b"data: " + b"[" * 100_000 + b"\n\n", Garbled),
}
OLLAMA_RUBBISH: Final = {
    "half a JSON": (b'{"message": {"cont\n', Garbled),
    "half a line": (b'{"model": "m", "done": true', Broken),
    "HTML": (b"<html>502</html>\n", Garbled),
    "a list": (b"[1]\n", Garbled),
    "a message of a wrong type": (b'{"message": 5, "response": 5}\n', Garbled),
    "no UTF-8": (b'{"x": "\xff"}\n', Garbled),
    "an error": (b'{"error": "out of memory"}\n', Overloaded),
    "nothing": (b"\n", Broken),
}
RUBBISH: Final = {"openai": OPENAI_RUBBISH, "ollama": OLLAMA_RUBBISH}
PATIENT: Final = BreakerLimits(failures_to_open=1_000)


async def read_at(gateway: ModelGateway, server: ModelServer, door: str) -> str:
    """All that a caller reads; the rubbish comes when the words before it have arrived."""
    received = ""
    with trio.fail_after(20):
        async with gateway.http.stream("POST", door, json={"model": "m", **DOORS[door]}) as answer:
            assert answer.status_code == 200
            async for part in answer.aiter_text():
                received += part
                if SEEN in received:
                    server.go_on.set()
    return received


def check_broken(door: str, received: str, code: str) -> None:
    """A part of an answer, then why it is cut, and nothing that looks like an end."""
    assert SEEN in received
    assert "the answer is cut" in received
    if door.startswith("/api/"):
        lines = [json.loads(line) for line in received.splitlines()]
        assert not any(line.get("done") for line in lines)
        assert lines[-1].keys() == {"error"}
        return
    told = [line.removeprefix("data: ") for line in received.splitlines() if line[:5] == "data:"]
    assert json.loads(told[-1])["error"]["code"] == code
    assert "[DONE]" not in told
    assert "response.completed" not in received
    assert '"finish_reason":"stop"' not in received.replace(" ", "")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("protocol", ["openai", "ollama"])
async def test_rubbish_after_the_first_token_is_told_and_no_end(
    home_path: Path, door: str, protocol: str
) -> None:
    async with (
        model_server(protocol) as server,
        model_gateway(home_path, [server], breaker=PATIENT) as gateway,
    ):
        for rubbish, failure in RUBBISH[protocol].values():
            server.acts, server.go_on = [Speak(rubbish=rubbish)], trio.Event()
            check_broken(door, await read_at(gateway, server, door), failure.code)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("protocol", ["openai", "ollama"])
async def test_a_stream_that_goes_on_for_ever_is_cut_and_told(
    home_path: Path, monkeypatch: pytest.MonkeyPatch, door: str, protocol: str
) -> None:
    monkeypatch.setattr(wire, "MAX_ANSWER_BYTES", 4_000)
    async with model_server(protocol) as server, model_gateway(home_path, [server]) as gateway:
        server.acts = [Speak("one two " + "word " * 2_000)]
        check_broken(door, await read_at(gateway, server, door), Garbled.code)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("protocol", ["openai", "ollama"])
@pytest.mark.parametrize(
    ("act", "timeout_s", "failure"),
    [
        (Speak(rubbish=b"no length\r\n", breaks_http=True), 10, Garbled),
        (Speak(wait_after=2), 0.3, Silent),
    ],
    ids=["breaks HTTP", "falls silent"],
)
async def test_a_server_that_no_longer_speaks_http_is_told_and_no_end(
    home_path: Path,
    door: str,
    protocol: str,
    *,
    act: Speak,
    timeout_s: float,
    failure: type[Failure],
) -> None:
    async with (
        model_server(protocol) as server,
        model_gateway(home_path, [server], timeout_s=timeout_s) as gateway,
    ):
        server.acts = [act]
        check_broken(door, await read_at(gateway, server, door), failure.code)


BAD_BODIES: Final[list[tuple[str, dict[str, Any], str | None]]] = [
    ("/v1/completions", {"prompt": 5}, "prompt"),
    ("/v1/completions", {}, "prompt"),
    ("/v1/completions", {"prompt": "x", "n": "2"}, "n"),
    ("/v1/embeddings", {}, "input"),
    ("/v1/embeddings", {"input": {"text": "x"}}, "input"),
    ("/v1/embeddings", {"input": "x", "encoding_format": "hex"}, "encoding_format"),
    ("/v1/embeddings", {"input": "x", "dimensions": -1}, "dimensions"),
    ("/api/chat", {"messages": "hello"}, None),
    ("/api/chat", {"messages": [{"role": "king", "content": "x"}]}, None),
    ("/api/chat", {"messages": HELLO, "stream": "yes"}, None),
    ("/api/generate", {"prompt": 5}, None),
    ("/api/embed", {"input": 5}, None),
]


async def test_wrong_types_are_422_in_the_form_of_the_door(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        for door, body, param in BAD_BODIES:
            answer = await gateway.http.post(door, json={"model": "m", **body})
            assert answer.status_code == 422, answer.text
            error = answer.json()["error"]
            assert isinstance(error, str) if door.startswith("/api/") else error["param"] == param
        assert server.asked == []


async def test_what_is_no_json_object_is_400_at_every_door(home_path: Path) -> None:
    async with model_gateway(home_path) as gateway:
        for door in ALL_DOORS:
            for content in (b"{", b"[]", b"\xff", b"[" * 200_000):
                answer = await gateway.http.post(door, content=content)
                assert answer.status_code == 400, door
                assert "error" in answer.json()


async def test_an_unknown_model_is_404_at_every_door(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        for door in ALL_DOORS:
            body = DOORS.get(door, {"input": "x"})
            answer = await gateway.http.post(door, json={**body, "model": "nobody"})
            assert answer.status_code == 404, door
            told = answer.json()["error"]
            text = told if isinstance(told, str) else told["message"]
            assert "there is no model 'nobody'" in text
        assert server.asked == []


async def test_what_a_server_finds_too_long_is_400_before_a_stream_begins(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        server.acts = [Status(400, "this model's maximum context length is 8 tokens")]
        for door, body in DOORS.items():
            answer = await gateway.http.post(door, json={**body, "model": "m"})
            assert answer.status_code == 400, door
            error = answer.json()["error"]
            assert "maximum context length" in (error if isinstance(error, str) else str(error))
            assert isinstance(error, str) or error["code"] == "context_length_exceeded"
