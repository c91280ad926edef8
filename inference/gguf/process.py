"""One life of a model's child process, seen from the daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import trio

import inference
from inference.failures import Unreachable


class ServerProcess:
    """A running child. Made by `start`; `end` must be called, whatever happened."""

    def __init__(self, process: trio.Process, port: int) -> None:
        self._process, self.port = process, port

    @classmethod
    async def start(
        cls, command: Sequence[str], port: int, key: str, *, idle_s: float, log: Path | None
    ) -> Self:
        """Start it without waiting for the model to be loaded. Raises `Unreachable`."""
        environment = dict(os.environ)
        # Both programs take the key from the environment, where other users don't see it.
        environment.update({"LLAMA_API_KEY": key, "API_KEY": key})
        # The child runs the code that this process runs, installed or not.
        environment["PYTHONPATH"] = str(Path(inference.__path__[0]).parent)
        wrapped = (sys.executable, "-P", "-m", "inference.gguf.child", f"--idle-s={idle_s}", "--")
        output = subprocess.DEVNULL if log is None else log.open("ab")
        try:
            process = await trio.lowlevel.open_process(
                [*wrapped, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=output,
                env=environment,
            )
        except OSError as error:
            raise Unreachable(f"the model's process cannot be started: {error}") from error
        finally:
            if not isinstance(output, int):
                output.close()
        return cls(process, port)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def tell(self, sign: bytes) -> None:
        """A request begins (`+`) or has ended (`-`)."""
        assert isinstance(self._process.stdin, trio.lowlevel.FdStream)
        try:
            os.write(self._process.stdin.fileno(), sign)
        except (OSError, ValueError):
            # It has just ended: the request will notice.
            return

    async def end(self) -> None:
        """End the child and its server, and wait for it."""
        with trio.CancelScope(shield=True):
            if self._process.stdin is not None:
                await self._process.stdin.aclose()
            await self._process.wait()
