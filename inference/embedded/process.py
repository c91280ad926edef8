"""One life of the model's child process, seen from the daemon: start, greet, exchange, end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

import msgspec
import trio

import inference
from inference.backend import BackendLost, BackendUnavailable
from inference.embedded.protocol import (
    LENGTH_BYTES,
    FrameTooLarge,
    Greeting,
    Ready,
    Response,
    body_length,
)

_GREETINGS: Final = msgspec.msgpack.Decoder(Greeting)
_RESPONSES: Final = msgspec.msgpack.Decoder(Response)
_READ_BYTES: Final = 65_536
_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
"""How numpy's and the tokenizer's thread pools are told their size."""


_LARGE_PAGES: Final = "glibc.malloc.hugetlb"
"""Of weights, where the kernel gives those to who asks: one short sentence reads all 43 MB of them, and would spend a
tenth of its time on finding 10,000 small pages. A user who has said what he wants is not contradicted."""


def child_command(*, threads: int, nice: int) -> tuple[str, ...]:
    """The child's command line. `-P` keeps the daemon's working folder out of its imports."""
    module = "inference.embedded.child"
    return (sys.executable, "-P", "-m", module, f"--threads={threads}", f"--nice={nice}")


class ModelProcess:
    """A running child. Made by `start`; `end` must be called, whatever happened."""

    def __init__(self, process: trio.Process) -> None:
        stdin, stdout = process.stdin, process.stdout
        assert isinstance(stdin, trio.lowlevel.FdStream)
        assert isinstance(stdout, trio.lowlevel.FdStream)
        self._process, self._stdin, self._stdout = process, stdin, stdout
        self._received = bytearray()

    @classmethod
    async def start(cls, command: tuple[str, ...], *, threads: int) -> Self:
        """Start the child without waiting for its greeting. Raises `BackendUnavailable`."""
        environment = dict(os.environ)
        environment.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
        if threads == 1:
            # Else each text is handed to a pool of one thread, and back.
            environment["TOKENIZERS_PARALLELISM"] = "false"
        tunables = environment.get("GLIBC_TUNABLES", "")
        if _LARGE_PAGES not in tunables:
            environment["GLIBC_TUNABLES"] = f"{_LARGE_PAGES}=1:{tunables}".removesuffix(":")
        # The child runs the code that this process runs, installed or not.
        environment["PYTHONPATH"] = str(Path(inference.__path__[0]).parent)
        try:
            process = await trio.lowlevel.open_process(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
        except OSError as error:
            raise BackendUnavailable(f"the model's process cannot be started: {error}") from error
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def memory_bytes(self) -> int:
        """The resident size, 0 if the process has just ended."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    async def greet(self, model_hash: str) -> None:
        """Wait until the model is loaded. Raises `BackendUnavailable` if it can't or is another."""
        try:
            greeting = _GREETINGS.decode(await self._receive())
        except (BackendLost, msgspec.DecodeError) as error:
            raise BackendUnavailable(
                f"the model's process did not start: {error}; its log says more"
            ) from error
        if not isinstance(greeting, Ready):
            raise BackendUnavailable(f"the embedded model cannot be loaded: {greeting.reason}")
        if greeting.model_hash != model_hash:
            raise BackendUnavailable(
                f"the model's process loaded model {greeting.model_hash[:16]}, not "
                f"{model_hash[:16]}; the installation was changed, restart the node"
            )

    async def exchange(self, request: bytes) -> Response:
        """Hand over the frame of a `Request` and wait for its response. Raises `BackendLost`."""
        try:
            await self._write(request)
        except (OSError, trio.BrokenResourceError) as error:
            raise BackendLost(f"the model's process ended ({self._exit()}); ask again") from error
        try:
            response: Response = _RESPONSES.decode(await self._receive())
        except msgspec.DecodeError as error:
            raise BackendLost(f"the model's process answered nonsense ({error})") from error
        return response

    async def end(self) -> None:
        """Kill the child and wait until it is gone; a cancellation does not leave it behind."""
        with trio.CancelScope(shield=True):
            self._process.kill()
            await self._process.wait()
            await self._stdin.aclose()
            await self._stdout.aclose()

    async def _write(self, data: bytes) -> None:
        """What there is room for leaves at once: the stream's own methods take turns of the loop first."""
        try:
            sent = os.write(self._stdin.fileno(), data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            await self._stdin.send_all(memoryview(data)[sent:])

    async def _receive(self) -> bytes:
        """The body of the next frame. Raises `BackendLost` at the end of the stream."""
        try:
            size_bytes = body_length(await self._read(LENGTH_BYTES))
        except FrameTooLarge as error:
            raise BackendLost(f"the model's process answered nonsense ({error})") from error
        return await self._read(size_bytes)

    async def _read(self, size_bytes: int) -> bytes:
        number = self._stdout.fileno()
        while len(self._received) < size_bytes:
            await trio.lowlevel.wait_readable(number)
            try:
                received = os.read(number, _READ_BYTES)
            except BlockingIOError:
                continue
            if not received:
                await self._process.wait()
                raise BackendLost(f"the model's process ended ({self._exit()}); ask again")
            self._received += received
        taken = bytes(self._received[:size_bytes])
        del self._received[:size_bytes]
        return taken

    def _exit(self) -> str:
        code = self._process.poll()
        if code is None:
            return "it closed its pipe"
        return f"signal {-code}" if code < 0 else f"exit code {code}"
