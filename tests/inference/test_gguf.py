"""A GGUF file without a server: a child that is started when asked, and never outlives its use.

The program is a stand-in that speaks llama.cpp's protocol; a real llama.cpp is asked where there is one.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from inference.backends.servers import ServerSettings, TokenStream
from inference.chat import Call, CallKind
from inference.failures import Broken, Unreachable
from inference.gguf.server import GgufServer, llama_command
from inference.selection import ServerKind

CALL = Call(CallKind.CHAT, "tiny", {"messages": [{"role": "user", "content": "hello"}]})


def stand_in(path: Path, port: int, name: str) -> tuple[str, ...]:
    module = (sys.executable, "-m", "tests.inference.serve")
    words = ("--words", "3", "--pause-ms", "20")
    return (*module, "--port", str(port), "--model", name, "--file", str(path), *words)


@asynccontextmanager
async def served(path: Path, idle_s: float = 60.0) -> AsyncIterator[GgufServer]:
    settings = ServerSettings(name="x", url=str(path), kind=ServerKind.GGUF, timeout_s=20)
    server = GgufServer(settings, command=stand_in, idle_s=idle_s)
    try:
        yield server
    finally:
        await server.aclose()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF")
    return path


async def text_of(server: GgufServer) -> str:
    answer = await server.complete(CALL)
    return str(answer["choices"][0]["message"]["content"])


async def rest_of(stream: TokenStream) -> None:
    while await stream.receive() is not None:
        pass


async def ended(pid: int) -> None:
    with trio.fail_after(15):
        while True:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            await trio.to_thread.run_sync(lambda: None)


async def test_the_child_starts_with_the_first_request_and_not_with_a_look(tiny: Path) -> None:
    async with served(tiny) as server:
        assert await server.probe() == ("tiny",)
        before = server.child_pid
        assert before is None
        assert await text_of(server) == "word0 word1 word2 "
        first = server.child_pid
        stream = await server.open_stream(CALL)
        chunks = []
        while (chunk := await stream.receive()) is not None:
            chunks.append(chunk)
        await stream.aclose()
        assert len(chunks) >= 4
        assert server.child_pid == first
    assert first is not None
    await ended(first)


async def test_a_child_that_nobody_asks_ends_and_another_one_follows(tiny: Path) -> None:
    async with served(tiny, idle_s=1.0) as server:
        await text_of(server)
        first = server.child_pid
        assert first is not None
        assert server._process is not None
        with trio.fail_after(15):
            await server._process._process.wait()
        assert await text_of(server) == "word0 word1 word2 "
        assert server.child_pid != first


def slow_stand_in(path: Path, port: int, name: str) -> tuple[str, ...]:
    return ("sh", "-c", 'sleep 2; exec "$@"', "sh", *stand_in(path, port, name))


async def test_a_model_that_takes_longer_to_load_than_one_may_be_idle_is_waited_for(
    tiny: Path,
) -> None:
    settings = ServerSettings(name="x", url=str(tiny), kind=ServerKind.GGUF, timeout_s=20)
    server = GgufServer(settings, command=slow_stand_in, idle_s=1.0)
    try:
        assert await text_of(server) == "word0 word1 word2 "
    finally:
        await server.aclose()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_child_that_dies_breaks_its_answer_and_is_replaced(
    tiny: Path, how: signal.Signals
) -> None:
    async with served(tiny) as server:
        stream = await server.open_stream(CALL)
        await stream.receive()
        assert server._process is not None
        server._process._process.send_signal(how)
        await server._process._process.wait()
        with pytest.raises(Broken):
            await rest_of(stream)
        await stream.aclose()
        assert await text_of(server) == "word0 word1 word2 "


async def test_a_file_or_program_that_is_not_there_is_told(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tiny.with_name("other.gguf")) as server:
        with pytest.raises(Unreachable, match=r"there is no file .*other\.gguf"):
            await server.probe()
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(Unreachable, match=r"pip install 'bizra-node\[gguf\]'"):
        llama_command(tiny, 1, "tiny")


async def test_a_program_that_ends_at_once_is_told(tiny: Path) -> None:
    settings = ServerSettings(name="x", url=str(tiny), kind=ServerKind.GGUF)
    server = GgufServer(settings, command=lambda *_: (sys.executable, "-c", "exit(3)"))
    with pytest.raises(Unreachable, match=r"did not load tiny\.gguf"):
        await server.complete(CALL)
    await server.aclose()


CACHE = Path(__file__).parent.parent.parent / ".cache" / "e2e"


@pytest.mark.server
async def test_a_real_llama_cpp_reads_a_real_file(monkeypatch: pytest.MonkeyPatch) -> None:
    programs, model = sorted(CACHE.glob("llama-server-*")), CACHE / "true.gguf"
    if not programs or not model.exists():
        pytest.skip("`make e2e` has not built llama.cpp and its models here")
    monkeypatch.setattr(shutil, "which", lambda _: str(programs[-1]))
    settings = ServerSettings(name="x", url=str(model), kind=ServerKind.GGUF, timeout_s=60)
    server = GgufServer(settings)
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
    try:
        answer = await server.complete(Call(CallKind.CHAT, "true", body))
        assert answer["usage"]["completion_tokens"] == 8
        assert server.contexts["true"] > 0
    finally:
        await server.aclose()
