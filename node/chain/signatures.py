"""Many signatures at a time, checked in a process of its own beside the event loop.

A thread would not do: it and the event loop would take the interpreter from each other, for up to 5 ms each time. The
process is started when it is first needed; while it starts, and where it can't be had, a thread does its work: who
comes first waits no longer for a program to load than anybody else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import ed25519_zebra
import structlog
import trio

import gossip
from consensus.operations.transactions import Transaction
from node.chain import signature_child
from node.chain.signature_child import LENGTH_BYTES, Claims, first_false, framed

log = structlog.get_logger(__name__)

_PATIENCE_S = 30.0
"""For sixteen full batches before one's own, on a busy machine."""
_COMMAND = (sys.executable, "-P", "-S", signature_child.__file__)
"""Neither `site` nor `runpy`: they would take longer to load than the rest."""


class Signatures(Protocol):
    """Checks the signatures of many transactions."""

    async def first_unsigned(self, transactions: Sequence[Transaction]) -> int | None:
        """The index of the first that its sender did not sign, or None."""


class InThread:
    """In a thread of this process."""

    async def first_unsigned(self, transactions: Sequence[Transaction]) -> int | None:
        """See `Signatures`."""
        claims = tuple(one.claim for one in transactions)
        found = await trio.to_thread.run_sync(first_false, claims)
        return None if found == len(claims) else found


@asynccontextmanager
async def in_process(command: Sequence[str] = _COMMAND) -> AsyncIterator[InProcess]:
    """Signatures are checked in a child process; at the end it is gone."""
    async with trio.open_nursery() as nursery:
        signatures = InProcess(nursery, command)
        try:
            yield signatures
        finally:
            await signatures.end()
            nursery.cancel_scope.cancel()


class InProcess:
    """See `in_process`."""

    def __init__(self, nursery: trio.Nursery, command: Sequence[str]) -> None:
        self._nursery, self._command = nursery, tuple(command)
        self._process: trio.Process | None = None
        self._starting = trio.Lock()
        self._sending, self._reading = trio.Lock(), trio.Lock()

    async def end(self) -> None:
        """The child is gone when this returns; the next question would start another."""
        await self._end(self._process)

    async def first_unsigned(self, transactions: Sequence[Transaction]) -> int | None:
        """See `Signatures`."""
        if self._process is None:
            if not self._starting.locked():
                self._nursery.start_soon(self.start)
            return await InThread().first_unsigned(transactions)
        claims: Claims = tuple(one.claim for one in transactions)
        found = await self._asked(self._process, framed(claims))
        if found is None:
            return await InThread().first_unsigned(transactions)
        return None if found == len(claims) else found

    async def start(self) -> bool:
        """Have a child that has answered once, if one can be had; says whether."""
        async with self._starting:
            if self._process is None:
                self._process = await self._started()
            return self._process is not None

    async def _started(self) -> trio.Process | None:
        packages = [Path(one.__path__[0]).parent for one in (gossip, ed25519_zebra)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, packages))}
        process, found = None, None
        try:
            process = await trio.lowlevel.open_process(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # a terminal interrupts its whole group; the daemon decides
            )
            assert process.stdin is not None
            with trio.move_on_after(_PATIENCE_S):
                await process.stdin.send_all(framed(()))
                found = await _answer_of(process)
        except (OSError, trio.BrokenResourceError) as error:
            log.warning("no process to check signatures", reason=repr(error))
        finally:
            if found is None:
                await self._end(process)
        return process if found is not None else None

    async def _asked(self, process: trio.Process, frame: bytes) -> int | None:
        """The child's answer; None if it gives none, and then it is ended.

        The next question is sent while the child is at this one, so that it never waits for the loop. Answers come in
        the order of the questions, and so do the turns to read them: locks are fair. Nobody gives up waiting, or the
        next one would take the answer.
        """
        assert process.stdin is not None
        with trio.move_on_after(_PATIENCE_S) as patience:
            patience.shield = True
            try:
                async with self._sending:
                    await process.stdin.send_all(frame)
                async with self._reading:
                    return await _answer_of(process)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                log.warning("no process to check signatures", reason=repr(error))
        await self._end(process)
        return None

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
