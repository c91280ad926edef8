"""A GGUF file as a model server: llama.cpp is started at the first request, and asked in OpenAI's protocol.

Its child is ended when nobody has asked for a while, and started again by the next request. A child
that dies in the middle of an answer breaks that answer; the router tries again, which starts a new one.
"""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from inference.backends.openai import OpenAiServer
from inference.backends.servers import ServerSettings, Take, TokenStream, Vectors
from inference.backends.stream import ChunkStream
from inference.chat import Call, JsonObject
from inference.failures import Failure, Unreachable, Unsupported
from inference.gguf.process import ServerProcess
from inference.selection import ServerKind

IDLE_S: Final = 120.0
_START_S: Final = 120.0
_LOOK_S: Final = 0.1

MakeCommand = Callable[[Path, int, str], tuple[str, ...]]
"""From the file, the port and the model's name to a command line. Raises `Unreachable`."""


def llama_command(path: Path, port: int, name: str) -> tuple[str, ...]:
    """llama.cpp's own server, or that of llama-cpp-python. Raises `Unreachable` if there is neither."""
    places = ("--host", "127.0.0.1", "--port", str(port), "--model", str(path))
    if program := shutil.which("llama-server"):
        return (program, *places, "--alias", name)
    if importlib.util.find_spec("llama_cpp") is not None:
        return (sys.executable, "-P", "-m", "llama_cpp.server", *places, "--model_alias", name)
    raise Unreachable(
        "llama.cpp is not installed: pip install 'bizra-node[gguf]', or put llama-server on the PATH"
    )


class GgufServer:
    """A `Server`. `settings.url` is the path of the file; the model is called by its stem."""

    def __init__(
        self,
        settings: ServerSettings,
        *,
        command: MakeCommand = llama_command,
        idle_s: float = IDLE_S,
        log: Path | None = None,
    ) -> None:
        self.settings = settings
        self._path = Path(settings.url)
        self._command, self._idle_s, self._log = command, idle_s, log
        self._key = secrets.token_hex(16)
        self._process: ServerProcess | None = None
        self._server: OpenAiServer | None = None
        self._starting = trio.Lock()
        self.contexts: dict[str, int] = {}

    @property
    def child_pid(self) -> int | None:
        """The child's process id, None while there is none."""
        return self._process.pid if self._process is not None else None

    async def aclose(self) -> None:
        """End the child."""
        if self._server is not None:
            await self._server.aclose()
            self._server = None
        if self._process is not None:
            process, self._process = self._process, None
            await process.end()

    async def probe(self) -> tuple[str, ...]:
        """The model, without loading it: its file is there, and a program that reads it."""
        if not await trio.to_thread.run_sync(self._path.is_file):
            raise Unreachable(f"there is no file {self._path}")
        self._command(self._path, 0, self._path.stem)
        return (self._path.stem,)

    async def complete(self, call: Call) -> JsonObject:
        async with self._asked() as server:
            return await server.complete(call)
        raise AssertionError  # pragma: no cover - mypy can't tell that `_asked` lets nothing pass

    async def open_stream(self, call: Call) -> TokenStream:
        process, server = await self._ready()
        process.tell(b"+")
        try:
            return _Told(await server.open_stream(call), process)
        except BaseException:
            process.tell(b"-")
            raise

    async def embed(self, call: Call) -> Vectors:
        raise Unsupported(f"{call.model} is asked for text here, not for vectors")

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[OpenAiServer]:
        process, server = await self._ready()
        process.tell(b"+")
        try:
            yield server
        finally:
            process.tell(b"-")

    async def _ready(self) -> tuple[ServerProcess, OpenAiServer]:
        """The child with its model loaded. Raises `Unreachable`."""
        async with self._starting:
            if self._process is not None and self._server is not None and self._process.is_alive:
                return self._process, self._server
            await self.aclose()
            port = _free_port()
            command = self._command(self._path, port, self._path.stem)
            self._process = await ServerProcess.start(
                command, port, self._key, idle_s=self._idle_s, log=self._log
            )
            # While it loads it is not idle, however long that takes.
            self._process.tell(b"+")
            try:
                self._server = await self._until_loaded(self._process)
            except BaseException:
                with trio.CancelScope(shield=True):
                    await self.aclose()
                raise
            self._process.tell(b"-")
            self.contexts = dict(self._server.contexts)
            return self._process, self._server

    async def _until_loaded(self, process: ServerProcess) -> OpenAiServer:
        url = f"http://127.0.0.1:{process.port}"
        settings = msgspec.structs.replace(
            self.settings, url=url, kind=ServerKind.OPENAI, api_key=self._key
        )
        server = OpenAiServer(settings)
        with trio.move_on_after(_START_S):
            while process.is_alive:
                try:
                    if await server.probe():
                        return server
                except Failure:
                    await trio.sleep(_LOOK_S)
        raise Unreachable(
            f"llama.cpp did not load {self._path.name}; "
            + (f"its log is {self._log}" if self._log is not None else "it may be damaged")
        )


class _Told:
    """A stream whose end the child hears of."""

    def __init__(self, stream: ChunkStream, process: ServerProcess) -> None:
        self._stream, self._process, self._is_open = stream, process, True

    async def receive(self) -> JsonObject | None:
        return await self._stream.receive()

    async def pass_on(self, take: Take, framed: Take | None = None, /) -> bytes | None:
        return await self._stream.pass_on(take, framed)

    async def aclose(self) -> None:
        await self._stream.aclose()
        if self._is_open:
            self._is_open = False
            self._process.tell(b"-")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
