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
        self._turn = trio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def first_unsigned(self, transactions: Sequence[Transaction]) -> int | None:
        """See `Signatures`."""
        claims: Claims = tuple(one.claim for one in transactions)
        body = encode(claims)
        async with self._turn:
            found = await self._asked(len(body).to_bytes(LENGTH_BYTES, "big") + body)
        if found is None:
            return await InThread().first_unsigned(transactions)
        return None if found == len(claims) else found

    async def _asked(self, frame: bytes) -> int | None:
        """The child's answer; None if there is no child to give one."""
        answer = b""
        try:
            process = self._process or await self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            await process.stdin.send_all(frame)
            while len(answer) < LENGTH_BYTES and (
                part := await process.stdout.receive_some(LENGTH_BYTES)
            ):
                answer += part
        except (OSError, trio.BrokenResourceError) as error:
            log.warning("no process to check signatures", reason=repr(error))
        finally:
            # After an error, or a cancellation, an answer that still comes would be taken for the next one's.
            if len(answer) < LENGTH_BYTES:
                await self._end()
        return int.from_bytes(answer, "big") if len(answer) == LENGTH_BYTES else None

    async def _start(self) -> trio.Process:
        environment = {**os.environ, "PYTHONPATH": str(Path(node.__path__[0]).parent)}
        self._process = await trio.lowlevel.open_process(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                await pipe.aclose()
