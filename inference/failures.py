"""How work at a model server fails, by classes that say what to do next (row R1 of the systems).

- transient: the same server may do it in a moment; try again after a pause.
- network: the server can't be reached or its connection broke; try another, then this one again.
- backend: this server won't do it (garbage, another model, a wrong key); never try it again for
  this request.
- request: the request is at fault; nobody is asked again, the caller is told.

A bug of our own is none of these: it is an exception of another kind and ends the request.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from inference.backend import BackendError


class FailureClass(Enum):
    """What a failure asks for."""

    TRANSIENT = "transient"
    NETWORK = "network"
    BACKEND = "backend"
    REQUEST = "request"


class Failure(BackendError):  # noqa: N818  # base of what happened
    """A server could not do a request. `status` is its HTTP status, if it gave one.

    `retry_after_ms` is how long it asked to be left alone.
    """

    kind: FailureClass
    code: str

    def __init__(
        self, text: str, *, status: int | None = None, retry_after_ms: int | None = None
    ) -> None:
        super().__init__(text)
        self.status, self.retry_after_ms = status, retry_after_ms


class Overloaded(Failure):
    """The server says that it can't now: 408, 409, 425, 429, 500, 502, 503, 504."""

    kind = FailureClass.TRANSIENT
    code = "backend_overloaded"


class Unreachable(Failure):
    """No connection to the server."""

    kind = FailureClass.NETWORK
    code = "backend_unreachable"


class Silent(Failure):
    """The server took the request and said nothing for too long."""

    kind = FailureClass.NETWORK
    code = "backend_timeout"


class Broken(Failure):
    """The connection, or the answer, ended in the middle."""

    kind = FailureClass.NETWORK
    code = "backend_lost"


class Garbled(Failure):
    """What came is not what the protocol allows: HTML, half a JSON, an answer without an end."""

    kind = FailureClass.BACKEND
    code = "backend_garbled"


class WrongModel(Failure):
    """The server has not the model, or answered with another one."""

    kind = FailureClass.BACKEND
    code = "backend_wrong_model"


class Locked(Failure):
    """The server wants another key, or none of us: 401, 403."""

    kind = FailureClass.BACKEND
    code = "backend_refused_key"


class Unsupported(Failure):
    """The server, or this node for it, does not offer what the request asks for."""

    kind = FailureClass.BACKEND
    code = "backend_unsupported"


class BadRequest(Failure):
    """The server understood the request and refuses it; so would every other one."""

    kind = FailureClass.REQUEST
    code = "invalid_request"


class ContextOverflow(BadRequest):
    """The request is longer than the model reads."""

    code = "context_length_exceeded"


_OVERFLOW_SIGNS: Final = (
    "context_length_exceeded",
    "exceed_context_size",
    "context length",
    "context size",
    "context window",
    "exceeds the available context",
)
"""How OpenAI, llama.cpp, vLLM and LM Studio tell that a prompt is too long."""

_OWN_MISTAKES: Final = frozenset({400, 413, 422})
_WRONG_KEYS: Final = frozenset({401, 403})
_NOT_THERE: Final = frozenset({404, 410})
_NOT_OFFERED: Final = frozenset({405, 501})
"""llama.cpp's server says 501 for vectors of a model that it has loaded for text."""
_PASSING: Final = frozenset({408, 409, 425, 429})
_SERVER_ERRORS: Final = range(500, 600)


def failure_of_status(status: int, text: str, retry_after_ms: int | None = None) -> Failure:
    """The failure that an HTTP status other than 200 stands for; `text` is the server's sentence."""
    if status in _OWN_MISTAKES:
        lower = text.lower()
        is_overflow = any(sign in lower for sign in _OVERFLOW_SIGNS)
        return (ContextOverflow if is_overflow else BadRequest)(text, status=status)
    if status in _WRONG_KEYS:
        return Locked(text, status=status)
    if status in _NOT_THERE:
        return WrongModel(text, status=status)
    if status in _NOT_OFFERED:
        return Unsupported(text, status=status)
    if status in _PASSING or status in _SERVER_ERRORS:
        return Overloaded(text, status=status, retry_after_ms=retry_after_ms)
    return Garbled(f"an unexpected HTTP status {status}: {text}", status=status)
