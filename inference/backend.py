"""What every backend offers: a place where tasks are done, and the ways in which it fails.

A backend is asked by `run` and answers with a `Result`, or raises one of the errors below, or
`UnknownKind` or `BadInput` from `inference/kinds.py` when the request itself is at fault. The
embedded one is `inference/embedded/backend.py`.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from inference.kinds import Usage


class BackendError(Exception):
    """A backend could not do a valid task. The text says why and what to do."""


class Busy(BackendError):  # noqa: N818  # the state it reports
    """As many tasks are in hand as the backend takes; ask again later or elsewhere."""


class TimedOut(BackendError):  # noqa: N818  # what happened
    """The caller's time ran out, waiting or working; the task was abandoned."""


class BackendLost(BackendError):  # noqa: N818  # what happened
    """The backend's process or connection ended in the middle of the task."""


class BackendUnavailable(BackendError):  # noqa: N818  # the state it reports
    """The backend cannot be started or reached; until somebody acts, asking again won't help."""


class TaskFailed(BackendError):  # noqa: N818  # what happened
    """The backend met a fault of its own in this task, and goes on with others."""


class Result(msgspec.Struct, frozen=True):
    """`output` holds the canonical bytes of the kind's output; `model_hash` says whose they are."""

    output: bytes
    usage: Usage
    model_hash: str


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend does, and how it stands now."""

    kinds: tuple[str, ...]
    model_name: str
    model_hash: str
    is_running: bool
    memory_bytes: int
    tasks_in_hand: int


class Backend(Protocol):
    """The interface of all backends."""

    async def run(self, kind: str, task_input: bytes, *, timeout_s: float) -> Result:
        """Do one task: the canonical bytes of its input. Raises `BackendError`s and `BadInput`."""
        ...

    def describe(self) -> Description: ...
