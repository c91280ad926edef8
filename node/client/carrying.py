"""How a script's conversations with a node are carried: one request after another, in this thread."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import httpx2

from node.client.answers import more_of, refusal, unreachable
from node.client.conversations import Ask, Conversation, Reply
from node.views.headers import HEIGHT

_T = TypeVar("_T")
_P = ParamSpec("_P")

TIMEOUT_S = 30.0


class Caller:
    """Where a node is, and what shows that its owner asks: the same however it is asked."""

    def __init__(self, url: str, read_token: Callable[[], str] | None = None) -> None:
        self.url, self._read_token = url, read_token

    def _headers(self, asked: Ask) -> dict[str, str]:
        """What is sent above a request."""
        return asked.headers | (self._owner() if asked.owner else {})

    def _owner(self) -> dict[str, str]:
        return {} if self._read_token is None else {"Authorization": f"Bearer {self._read_token()}"}


def reply_to(asked: Ask, response: httpx2.Response, body: bytes) -> Reply:
    """What came back. Raises `RefusedError`."""
    if not response.is_success and not asked.whatever:
        raise refusal(response, body)
    return Reply.of(body, response.headers.get(HEIGHT))


class Carrier(Caller):
    """One node's interface. Every method raises `NotReachableError` and `RefusedError`."""

    def __init__(self, url: str, read_token: Callable[[], str] | None = None) -> None:
        super().__init__(url, read_token)
        # The environment's proxies are not for loopback.
        self._http = httpx2.Client(base_url=url, trust_env=False, timeout=TIMEOUT_S)

    def close(self) -> None:
        """Give the connections free."""
        self._http.close()

    def hold(self, conversation: Conversation[_T]) -> _T:
        """Hold a conversation with the node to its end."""
        try:
            asked = next(conversation)
            while True:
                asked = conversation.send(self._told(asked))
        except StopIteration as end:
            result: _T = end.value
            return result

    def _told(self, asked: Ask) -> Reply:
        if asked.pause_s:
            time.sleep(asked.pause_s)
        body = bytearray()
        try:
            with self._http.stream(
                asked.method, asked.path, content=asked.content, headers=self._headers(asked)
            ) as response:
                for piece in response.iter_bytes():
                    more_of(body, piece, response)
        except httpx2.TransportError as error:
            raise unreachable(self.url, error, TIMEOUT_S) from None
        return reply_to(asked, response, bytes(body))


def held(ask: Callable[_P, Conversation[_T]]) -> Callable[Concatenate[Carrier, _P], _T]:
    """A question as a method of a client for scripts."""

    @wraps(ask)
    def method(self: Carrier, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self.hold(ask(*args, **kwargs))

    return as_method(method, ask)


_Method = TypeVar("_Method", bound=Callable[..., object])


def as_method(method: _Method, ask: Callable[..., object]) -> _Method:
    """With the signature of the question behind `self`, for whoever asks Python for help."""
    asked = inspect.signature(ask)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    told = str(asked.return_annotation).removeprefix("Conversation[").removesuffix("]")
    method.__signature__ = asked.replace(  # type: ignore[attr-defined]
        parameters=[itself, *asked.parameters.values()], return_annotation=told
    )
    return method
