"""The daemon's side of the embedded backend: a queue in front of the child that holds the model.

    async with EmbeddedBackend() as backend:
        result = await backend.run("answer", encode_input(question), timeout_s=30)

The child does one task at a time; further callers wait in order, up to a limit, and the one beyond
it is told `Busy`. A task that is cancelled or runs out of time takes the child with it, for nothing
else stops a computation; the next task starts a new child, in about half a second. Nothing here
imports the model.
"""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self, assert_never

import trio

from inference.backend import (
    BackendUnavailable,
    Busy,
    Description,
    Result,
    TaskFailed,
    TimedOut,
)
from inference.embedded.process import ModelProcess, child_command
from inference.embedded.protocol import (
    Done,
    Failed,
    FrameTooLarge,
    Refused,
    Request,
    Response,
    frame,
)
from inference.kinds import KINDS, BadInput, kind_named
from memory.model_files import MODEL_HASH, MODEL_NAME

DEFAULT_IDLE_S: Final = 60.0
DEFAULT_MAX_TASKS: Final = 64
DEFAULT_START_TIMEOUT_S: Final = 30.0
DEFAULT_NICE: Final = 10


class EmbeddedBackend:
    """A `Backend` (see `inference/backend.py`); it works inside its own `async with`.

    `threads` and `nice` are the child's; `idle_s` is how long it outlives its last task;
    `max_tasks` bounds the tasks in hand, the one at work included. `command` stands in for the
    child's own command line.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        nice: int = DEFAULT_NICE,
        idle_s: float = DEFAULT_IDLE_S,
        max_tasks: int = DEFAULT_MAX_TASKS,
        start_timeout_s: float = DEFAULT_START_TIMEOUT_S,
        command: tuple[str, ...] | None = None,
    ) -> None:
        self._command = command or child_command(threads=threads, nice=nice)
        self._threads = threads
        self._idle_s = idle_s
        self._max_tasks = max_tasks
        self._start_timeout_s = start_timeout_s
        self._turn = trio.Lock()
        self._tasks_in_hand = 0
        self._process: ModelProcess | None = None
        self._last_used_s = -math.inf
        self._started = trio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        nursery = await self._stack.enter_async_context(trio.open_nursery())
        self._stack.callback(nursery.cancel_scope.cancel)
        self._stack.push_async_callback(self._end_process)
        nursery.start_soon(self._end_when_idle)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    def describe(self) -> Description:
        """The memory is the child's resident size, 0 while there is none."""
        process = self._process
        is_running = process is not None and process.is_alive
        return Description(
            kinds=tuple(KINDS),
            model_name=MODEL_NAME,
            model_hash=MODEL_HASH,
            is_running=is_running,
            memory_bytes=process.memory_bytes() if process is not None and is_running else 0,
            tasks_in_hand=self._tasks_in_hand,
        )

    @property
    def child_pid(self) -> int | None:
        """The child's process id, None while there is none."""
        return self._process.pid if self._process is not None else None

    async def run(self, kind: str, task_input: bytes, *, timeout_s: float) -> Result:
        """Do one task; waiting for its turn counts against `timeout_s`.

        Raises `UnknownKind`, `BadInput`, and `Busy`, `TimedOut`, `BackendLost`,
        `BackendUnavailable` or `TaskFailed`.
        """
        kind_named(kind)
        if self._tasks_in_hand >= self._max_tasks:
            raise Busy(
                f"the embedded model has {self._tasks_in_hand} tasks in hand and takes no more; "
                "ask again later, or ask a peer"
            )
        try:
            request = frame(Request(kind, task_input))
        except FrameTooLarge as error:
            raise BadInput(f"the input of {kind!r} is too large: {error}") from error
        self._tasks_in_hand += 1
        try:
            with trio.move_on_after(timeout_s):
                await self._take_turn()
                try:
                    return _result(await self._exchange(request))
                finally:
                    self._turn.release()
        finally:
            self._tasks_in_hand -= 1
        raise TimedOut(
            f"the task {kind!r} was not done within {timeout_s:g} s; give it more time or less text"
        )

    async def _take_turn(self) -> None:
        try:
            # A free turn costs no turn of the loop.
            self._turn.acquire_nowait()
        except trio.WouldBlock:
            await self._turn.acquire()

    async def _exchange(self, request: bytes) -> Response:
        """Only with the turn in hand. If it does not end well, the child is ended with it."""
        try:
            process = await self._ready_process()
            response = await process.exchange(request)
        except BaseException:
            await self._end_process()
            raise
        finally:
            self._last_used_s = trio.current_time()
        return response

    async def _ready_process(self) -> ModelProcess:
        """The child that is there, or a new one. Raises `BackendUnavailable`."""
        if self._process is not None and self._process.is_alive:
            return self._process
        await self._end_process()
        with trio.move_on_after(self._start_timeout_s):
            self._process = await ModelProcess.start(self._command, threads=self._threads)
            self._started.set()
            await self._process.greet(MODEL_HASH)
            return self._process
        raise BackendUnavailable(
            f"the embedded model was not ready within {self._start_timeout_s:g} s; "
            "the machine may be overloaded"
        )

    async def _end_process(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            self._started = trio.Event()
            await process.end()

    async def _end_when_idle(self) -> None:
        """Looks again when the last known task is so long ago: moving a deadline would cost each task more."""
        while True:
            await self._started.wait()
            await trio.sleep_until(self._last_used_s + self._idle_s)
            async with self._turn:
                if trio.current_time() >= self._last_used_s + self._idle_s:
                    await self._end_process()


def _result(response: Response) -> Result:
    match response:
        case Done(output, usage):
            return Result(output, usage, MODEL_HASH)
        case Refused(reason):
            raise BadInput(reason)
        case Failed(reason):
            raise TaskFailed(reason)
        case _:
            assert_never(response)
