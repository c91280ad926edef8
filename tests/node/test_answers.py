"""Answers in the form that was asked for, several at once, and those that are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from node.config import load_config
from node.storage.home import Home
from tests.inference.servers import Speak, model_server
from tests.node.model_gateway import ModelGateway, model_gateway
from tests.node.test_cli import call
from tests.node.test_openai_door import HELLO, ask, chunks_of

FORM: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {
        "name": "age",
        "schema": {
            "type": "object",
            "properties": {"age": {"type": "integer"}},
            "required": ["age"],
        },
    },
}


@pytest.mark.parametrize("protocol", ["openai", "ollama"])
async def test_an_answer_that_does_not_fit_is_asked_for_once_more(
    home_path: Path, protocol: str
) -> None:
    async with model_server(protocol) as server, model_gateway(home_path, [server]) as gateway:
        server.acts = [Speak('{"age": "old"}'), Speak('{"age": 5}')]
        assert (await ask(gateway, response_format=FORM)).strip() == '{"age": 5}'
        _, again = server.asked[1]
        assert "is not of type 'integer'" in again["messages"][-1]["content"]


async def test_json_in_a_fence_is_taken_out(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        server.acts = [Speak('Sure: {"age": 5}')]
        assert await ask(gateway, response_format=FORM) == '{"age": 5}'
        assert len(server.asked) == 1


async def test_what_never_fits_is_an_error(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        server.acts = [Speak("no")]
        with pytest.raises(openai.InternalServerError, match="not in the form") as caught:
            await ask(gateway, response_format=FORM)
        assert caught.value.status_code == 502
        assert len(server.asked) == 2
        parts: list[str] = []
        with pytest.raises(openai.APIError, match="not the form"):
            await chunks_of(gateway, parts, response_format={"type": "json_object"})
        server.acts = [Speak('{"age": 5}')]
        await chunks_of(gateway, parts, response_format=FORM)


async def test_a_wrong_schema_is_refused_and_nobody_is_asked(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "odd"}}}
        with pytest.raises(openai.BadRequestError, match="no JSON schema"):
            await ask(gateway, response_format=form)
        assert server.asked == []


@pytest.mark.parametrize("protocol", ["openai", "ollama"])
async def test_n_answers_come_from_a_server_that_gives_one_at_a_time(
    home_path: Path, protocol: str
) -> None:
    async with model_server(protocol) as server, model_gateway(home_path, [server]) as gateway:
        answer = await gateway.openai.chat.completions.create(model="m", messages=HELLO, n=3)
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 9


async def cached(gateway: ModelGateway, **more: Any) -> str:  # noqa: ANN401 - as the client takes
    headers = more.pop("headers", {})
    body = {"model": "m", "messages": HELLO, "temperature": 0, **more}
    answer = await gateway.http.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-cache"])


async def test_a_deterministic_answer_is_kept_for_who_asked(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        assert await cached(gateway) == "MISS"
        assert await cached(gateway) == "L2"
        assert len(server.asked) == 1
        assert await cached(gateway, max_tokens=5) == "MISS"
        assert await cached(gateway, temperature=0.1) == "BYPASS"
        assert await cached(gateway, headers={"Authorization": "Bearer other"}) == "MISS"
        assert await cached(gateway, headers={"Cache-Control": "no-cache"}) == "MISS"
        ended = await call(home_path, "caches", "--json")
        rows = {row["kind"]: row for row in ended.json["caches"]}
        assert (rows["responses"]["entries"], rows["responses"]["hits"]) == (3, 1)
        assert (await call(home_path, "caches", "--clear")).code == 0
        assert await cached(gateway) == "MISS"


async def test_vectors_are_kept(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        for form in ("float", "base64"):
            body = {"model": "m", "input": ["a"], "encoding_format": form}
            answer = await gateway.http.post("/v1/embeddings", json=body)
            assert answer.headers["x-cache"] == ("MISS" if form == "float" else "L1")
        assert len(server.asked) == 1


async def test_a_server_that_was_away_may_have_another_model(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]) as gateway:
        assert await cached(gateway) == "MISS"
        server.acts = [Speak(die_after=1)]
        with pytest.raises(openai.APIError):
            await chunks_of(gateway, [])
        server.acts = [Speak()]
        assert await cached(gateway) == "MISS"


async def test_nobody_else_may_empty_the_caches(home_path: Path) -> None:
    async with model_gateway(home_path) as gateway:
        assert (await gateway.http.delete("/api/v2/caches")).status_code == 401
        headers = {"Authorization": f"Bearer {Home(home_path).read_token()}"}
        assert (await gateway.http.delete("/api/v2/caches", headers=headers)).status_code == 200


async def test_a_secret_for_a_circle_is_made_fresh_and_fits_into_the_settings(
    home_path: Path,
) -> None:
    made = [(await call(home_path, "caches", "--secret", "--json")).json for _ in range(2)]
    assert made[0] != made[1]
    settings = home_path / "circle.toml"
    settings.write_text(f'shared_cache = "{made[0]["shared_cache"]}"\n')
    assert load_config(settings).shared_cache == made[0]["shared_cache"]
