"""How a node's HTTP interface is asked, in this thread; what is asked stands in the files beside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx2
import msgspec

from node.answers import (
    Answer,
    NotReachableError,
    StillWaitingError,
    decoded,
    more_of,
    refusal,
    unreachable,
)
from node.conversations import HEIGHT, Ask, Conversation, Reply
from node.views.records import JsonObject

_T = TypeVar("_T")

_TIMEOUT_S = 30.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5


class Calls:
    """One node's interface. Every method raises `NotReachableError` and `RefusedError`."""

    def __init__(self, url: str, read_token: Callable[[], str] | None = None) -> None:
        self.url, self._read_token = url, read_token
        # The environment's proxies are not for loopback.
        self._http = httpx2.Client(base_url=url, trust_env=False, timeout=_TIMEOUT_S)

    def close(self) -> None:
        """Give the connections free."""
        self._http.close()

    def _get(self, path: str, kind: type[Answer]) -> Answer:
        return decoded(self._send("GET", path), kind)

    def _post(
        self, path: str, content: JsonObject, kind: type[Answer], *, owner: bool = True
    ) -> Answer:
        return decoded(self._send("POST", path, msgspec.json.encode(content), owner=owner), kind)

    def _delete(self, path: str) -> None:
        """A deed whose answer is empty."""
        response = self._send("DELETE", path, owner=True)
        if not response.is_success:
            decoded(response, JsonObject)

    def _send(
        self, method: str, path: str, content: bytes | None = None, *, owner: bool = False
    ) -> httpx2.Response:
        headers = {}
        if content is not None:
            headers["Content-Type"] = "application/json"
        if owner and self._read_token is not None:
            headers["Authorization"] = f"Bearer {self._read_token()}"
        try:
            return self._http.request(method, path, content=content, headers=headers)
        except httpx2.TransportError as error:
            raise unreachable(self.url, error, _TIMEOUT_S) from None

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
                asked.method, asked.path, content=asked.content, headers=asked.headers
            ) as response:
                for piece in response.iter_bytes():
                    more_of(body, piece, response)
        except httpx2.TransportError as error:
            raise unreachable(self.url, error, _TIMEOUT_S) from None
        if not response.is_success:
            raise refusal(response, bytes(body))
        return Reply.of(bytes(body), response.headers.get(HEIGHT))

    @contextmanager
    def _patient(
        self, method: str, path: str, pieces: Iterable[bytes]
    ) -> Iterator[httpx2.Response]:
        """The owner's request whose body or answer may take its time."""
        headers = {"Content-Type": "application/octet-stream"}
        if self._read_token is not None:
            headers["Authorization"] = f"Bearer {self._read_token()}"
        try:
            with self._http.stream(
                method, path, content=iter(pieces), headers=headers, timeout=None
            ) as answer:
                yield answer
        except httpx2.TransportError as error:
            raise NotReachableError(
                f"the daemon at {self.url} does not answer ({error}); "
                "start it again with: bizra-node run"
            ) from None


def poll(
    ask: Callable[[], Answer], ended: Callable[[Answer], bool], timeout_s: float, late: str
) -> Answer:
    """Ask until it has ended. Raises `StillWaitingError` with the sentence `late`."""
    deadline, pause_s = time.monotonic() + timeout_s, _FIRST_PAUSE_S
    while True:
        answer = ask()
        if ended(answer):
            return answer
        if time.monotonic() + pause_s > deadline:
            raise StillWaitingError(late)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
