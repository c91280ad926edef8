"""Model servers beside the daemons, as processes that can be killed: one of our own, and llama.cpp's."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Protocol

from tests.node.e2e.daemons import until

START_S = 60.0


class Backend(Protocol):
    """A model server. It keeps its port when it is started again."""

    model: str
    url: str

    def start(self) -> None: ...

    def kill(self) -> None: ...

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
    ) -> None:
        self.model, self.file = model, file
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
