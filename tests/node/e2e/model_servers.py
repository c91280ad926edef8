"""Model servers beside the daemons, as processes that can be killed: one of our own, and llama.cpp's."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Protocol

import httpx2

from tests.node.e2e.daemons import until

START_S = 60.0


class Backend(Protocol):
    """A model server. It keeps its port when it is started again."""

    model: str
    url: str

    def start(self) -> None: ...

    def kill(self) -> None: ...

    def asked(self) -> int:
        """How often it was asked for text since it was started."""

    def hung_up(self) -> int:
        """How many callers it saw leave in the middle of an answer."""


def table(backend: Backend, name: str = "here") -> str:
    """The `[[backend]]` of a server."""
    return f'\n[[backend]]\nname = "{name}"\nurl = "{backend.url}"\nkind = "openai"\n'


class OwnServer:
    """`tests.inference.serve`: true to the protocol, and as slow as a test wants it."""

    def __init__(
        self,
        file: Path,
        *,
        model: str = "tiny",
        words: int = 20,
        pause_ms: int = 0,
        certainty: float = 0.0,
        context: int = 0,
    ) -> None:
        self.model, self.file, self.context = model, file, context
        self.words, self.pause_ms, self.certainty = words, pause_ms, certainty
        self.port, self.url = 0, ""
        self._lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._lines.clear()
        options = {
            "--port": self.port,
            "--model": self.model,
            "--file": self.file,
            "--words": self.words,
            "--pause-ms": self.pause_ms,
            "--certainty": self.certainty,
            "--context": self.context,
        }
        given = [str(part) for pair in options.items() for part in pair]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.inference.serve", *given],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._process = process
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        until(lambda: self._lines, "the model server to start", START_S)
        self.port = int(self._lines[0])
        self.url = f"http://127.0.0.1:{self.port}"

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._lines.append(line.strip())

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def asked(self) -> int:
        return self._lines.count("asked")

    def hung_up(self) -> int:
        return self._lines.count("hung up")


class LlamaServer:
    """llama.cpp's own server, from `scripts/llama_server.sh`, with a model of `scripts/tiny_gguf.py`."""

    def __init__(self, program: Path, file: Path, log: Path, *, model: str = "tiny") -> None:
        self.model, self.file = model, file
        self._program, self._log = program, log
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        given = f"--port {self.port} --host 127.0.0.1 -c 65536 -np 2 -t 1 --no-webui"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-m", self.file, "--alias", self.model, *given.split()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until(self._is_up, "llama-server to start", START_S)

    def _is_up(self) -> bool:
        with httpx2.Client(trust_env=False, timeout=5) as http:
            try:
                return http.get(f"{self.url}/health").status_code == 200
            except httpx2.TransportError:
                return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def asked(self) -> int:
        return self._log.read_text("utf-8", "replace").count("launch_slot_")

    def hung_up(self) -> int:
        return self._log.read_text("utf-8", "replace").count("cancel task")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
