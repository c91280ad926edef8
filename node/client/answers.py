"""How a node's answers are read: into typed views, or as the error that they tell."""

from __future__ import annotations

from typing import TypeVar

import httpx2
import msgspec

from node.errors import NodeError

Answer = TypeVar("Answer")

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Of what is read whole; a page of blocks has some 3 MiB at most, a list far less."""


class NotReachableError(NodeError):
    """No daemon answers; the text says how to start one."""

    code = "not_reachable"
    exit_code = 3


class RefusedError(NodeError):
    """The node refused a request; `code` and the text are those of its problem+json."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code = status, code


class StillWaitingError(NodeError):
    """What was waited for has not ended in time."""

    code = "still_waiting"


class _Problem(msgspec.Struct):
    code: str
    detail: str


def understood(content: bytes, kind: type[Answer], path: str) -> Answer:
    """The view in the answer of somebody who may be no node at all. Raises `RefusedError`."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise _not_understood(200, path, str(error)) from None


def decoded(response: httpx2.Response, kind: type[Answer]) -> Answer:
    """The view in an answer that has been read. Raises `RefusedError`."""
    if not response.is_success:
        raise refusal(response, response.content)
    return understood(response.content, kind, str(response.url))


def refusal(response: httpx2.Response, content: bytes) -> RefusedError:
    """What an answer that is no success says."""
    try:
        problem = msgspec.json.decode(content, type=_Problem)
    except msgspec.DecodeError as error:
        return _not_understood(response.status_code, str(response.url), str(error))
    return RefusedError(response.status_code, problem.code, problem.detail)


def more_of(body: bytearray, piece: bytes, response: httpx2.Response) -> None:
    """Put a piece to an answer of somebody who may lie. Raises `RefusedError` if it becomes too long."""
    body += piece
    if len(body) > MAX_ANSWER_BYTES:
        why = f"its answer is longer than {MAX_ANSWER_BYTES:,} bytes"
        raise _not_understood(response.status_code, str(response.url), why)


def _not_understood(status: int, where: str, why: str) -> RefusedError:
    text = f"what answers at {where} is no node of this version ({why})"
    return RefusedError(status, "not_understood", text)


def unreachable(
    url: str, error: httpx2.TransportError, timeout_s: float | None
) -> NotReachableError:
    """The daemon doesn't answer, or not in time."""
    if isinstance(error, httpx2.TimeoutException) and timeout_s is not None:
        return NotReachableError(
            f"the daemon at {url} did not answer within {timeout_s:g} s; "
            "see its log for what it does"
        )
    return NotReachableError(
        f"the daemon at {url} does not answer ({error}); start it again with: bizra-node run"
    )
