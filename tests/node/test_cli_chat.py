"""`bizra-node chat` and `models`, as processes of their own, against a node with model servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inference.servers import HangUp, Speak, model_server
from tests.node.model_gateway import model_gateway
from tests.node.test_cli import call


async def test_an_answer_is_printed_as_it_comes_and_as_json(home_path: Path) -> None:
    async with model_server() as server, model_gateway(home_path, [server]):
        ended = await call(home_path, "chat", "hello")
        assert (ended.code, ended.out) == (0, "one two three \n")
        ended = await call(home_path, "chat", "--json", "--model", "m", given=b"hello")
        assert ended.json == {"model": "m", "answer": "one two three "}
        ended = await call(home_path, "chat", "hello", "--explain")
        assert "Model m, answered by a" in ended.err
        assert "embedded" in ended.err
        ended = await call(home_path, "models")
        assert ended.out.splitlines()[0].split() == ["MODEL", "SERVER"]
        assert ["m", "a"] in [line.split() for line in ended.out.splitlines()]


async def test_a_file_is_quoted_where_no_model_server_is(home_path: Path, tmp_path: Path) -> None:
    manual = tmp_path / "manual.md"
    manual.write_text("The warranty lasts two years. Rye ferments faster than wheat.")
    async with model_gateway(home_path):
        ended = await call(
            home_path, "chat", "How long does the warranty last?", "--input", str(manual)
        )
        assert ended.code == 0
        assert "No language model" in ended.out
        assert "The warranty lasts two years. [1]" in ended.out


@pytest.mark.parametrize(
    ("acts", "words", "told"),
    [
        (Speak(), ("--model", "n"), "there is no model 'n' here"),
        (HangUp(), ("--model", "m"), "in vain"),
        (Speak(die_after=2), ("--model", "m"), "the answer is cut"),
    ],
)
async def test_what_fails_is_told_and_ends_with_1(
    home_path: Path, acts: Speak | HangUp, words: tuple[str, ...], told: str
) -> None:
    async with model_server() as server, model_gateway(home_path, [server]):
        server.acts = [acts]
        ended = await call(home_path, "chat", "hello", *words)
        assert ended.code == 1
        assert told in ended.err


async def test_nothing_asked_is_wrong_usage_and_no_daemon_is_not_reachable(
    home_path: Path,
) -> None:
    assert (await call(home_path, "chat", given=b" ")).code == 2
    assert (await call(home_path, "chat", "hello")).code == 3


async def test_an_answer_that_fits_a_schema_and_code_alone(home_path: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "required": ["age"]}')
    async with model_server() as server, model_gateway(home_path, [server]):
        server.acts = [Speak("no"), Speak('{"age": 5}'), Speak("no")]
        ended = await call(home_path, "chat", "who?", "--schema", str(schema))
        assert (ended.code, ended.out) == (0, '{"age": 5}\n')
        ended = await call(home_path, "chat", "who?", "--schema", str(schema))
        assert ended.code == 1
        assert "not in the form" in ended.err
        server.acts = [Speak(pieces=("So:\n", "```py\nprint(1)\n```\n", "Good luck."))]
        ended = await call(home_path, "chat", "code?", "--code")
        assert (ended.code, ended.out) == (0, "print(1)\n")
        server.acts = [Speak("I write no code")]
        ended = await call(home_path, "chat", "code?", "--code")
        assert (ended.code, ended.out) == (1, "")
        assert "no code block; it says: I write no code" in ended.err


async def test_documents_beyond_what_the_model_reads_are_cut_and_told(
    home_path: Path, tmp_path: Path
) -> None:
    book = tmp_path / "book.md"
    book.write_text("word " * 2000)
    async with model_server() as server, model_gateway(home_path, [server]):
        words = ("chat", "what?", "--input", str(book), "--system", "Be short.")
        ended = await call(home_path, *words, "--context-tokens", "400")
        assert ended.code == 0, ended.err
        assert "book.md is cut to what fits" in ended.err
        messages = server.asked[0][1]["messages"]
        assert messages[0] == {"role": "system", "content": "Be short."}
        assert len(messages[1]["content"]) < 1300
        ended = await call(home_path, "chat", "x" * 2000, "--context-tokens", "128")
        assert "about 508 tokens" in ended.err
