"""Many signatures at a time, checked in a process of its own beside the event loop.

A thread would not do: libsodium gives the interpreter away for each signature and then waits for it behind the busy
loop, up to 5 ms each time. The process is started when it is first needed. Where it can't be had, a thread does its
work.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import structlog
import trio

import node
from consensus.transactions import Transaction
from gossip.codec import encode
from gossip.identity import Ed25519Verifier
from node.signature_child import LENGTH_BYTES, Claims, first_false

log = structlog.get_logger(__name__)

_PATIENCE_S = 30.0
"""For sixteen full batches before one's own, on a busy machine."""
_COMMAND = (sys.executable, "-P", "-m", "node.signature_child")


class Signatures(Protocol):
    """Checks the signatures of many transactions."""

    async def first_unsigned(self, transactions: Sequence[Transaction]) -> int | None:
        """The index of the first that its sender did not sign, or None."""


class InThread:
    """In a thread of this process."""

    async def first_unsigned(self, transactions: Sequence[Transaction]) -> int | None:
        """See `Signatures`."""
        claims = tuple(one.claim for one in transactions)
        found = await trio.to_thread.run_sync(first_false, claims, Ed25519Verifier())
        return None if found == len(claims) else found


class InProcess:
    """In a child process. As a context manager: at its end the child is gone."""

    def __init__(self, command: Sequence[str] = _COMMAND) -> None:
        self._command = tuple(command)
        self._process: trio.Process | None = None
        self._sending, self._reading = trio.Lock(), trio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end(self._process)

    async def first_unsigned(self, transactions: Sequence[Transaction]) -> int | None:
        """See `Signatures`."""
        claims: Claims = tuple(one.claim for one in transactions)
        body = encode(claims)
        found = await self._asked(len(body).to_bytes(LENGTH_BYTES, "big") + body)
        if found is None:
            return await InThread().first_unsigned(transactions)
        return None if found == len(claims) else found

    async def _asked(self, frame: bytes) -> int | None:
        """The child's answer; None if there is no child to give one.

        The next question is sent while the child is at this one, so that it never waits for the loop. Answers come in
        the order of the questions, and so do the turns to read them: locks are fair. Nobody gives up waiting, or the
        next one would take the answer.
        """
        process = None
        with trio.move_on_after(_PATIENCE_S) as patience:
            patience.shield = True
            try:
                async with self._sending:
                    process = self._process or await self._start()
                    assert process.stdin is not None
                    await process.stdin.send_all(frame)
                async with self._reading:
                    return await _answer_of(process)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                log.warning("no process to check signatures", reason=repr(error))
        await self._end(process)
        return None

    async def _start(self) -> trio.Process:
        environment = {**os.environ, "PYTHONPATH": str(Path(node.__path__[0]).parent)}
        self._process = await trio.lowlevel.open_process(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        return self._process

    async def _end(self, process: trio.Process | None) -> None:
        if process is None:
            return
        if process is self._process:
            self._process = None
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                await pipe.aclose()


async def _answer_of(process: trio.Process) -> int:
    """Raises `trio.BrokenResourceError` and `trio.ClosedResourceError`."""
    assert process.stdout is not None
    answer = b""
    while len(answer) < LENGTH_BYTES:
        part = await process.stdout.receive_some(LENGTH_BYTES - len(answer))
        if not part:
            raise trio.BrokenResourceError("it ended")
        answer += part
    return int.from_bytes(answer, "big")
