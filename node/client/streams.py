"""What takes its time on the way, for scripts: events, streamed answers, contents, topics, snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote

import httpx2
import msgspec

from node.client.answers import RefusedError, decoded, refusal, unreachable
from node.client.carrying import Carrier
from node.client.conversations import BINARY, JSON
from node.client.paths import path_part, query
from node.views.records import (
    ContentView,
    EventLine,
    FetchView,
    JsonObject,
    SnapshotView,
)

_SILENCE_S = 60.0
"""The node says every 15 s that it is still there."""


class StreamCalls(Carrier):
    """Bodies and answers of any length."""

    def events(
        self,
        *,
        transaction: str | None = None,
        account: str | None = None,
        task: str | None = None,
        after: str | None = None,
    ) -> Iterator[JsonObject]:
        """What happens, as it happens, until the node ends or cuts this caller off; its head is there at the first."""
        given = {"transaction": transaction, "account": account, "task": task, "after": after}
        path = f"/api/v2/events?{query(given).removeprefix('&')}"
        try:
            with self._http.stream("GET", path, timeout=_SILENCE_S) as answer:
                if not answer.is_success:
                    answer.read()
                    decoded(answer, JsonObject)
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield msgspec.json.decode(line.removeprefix("data: "), type=JsonObject)
        except httpx2.TransportError as error:
            raise unreachable(self.url, error, _SILENCE_S) from None

    @contextmanager
    def streaming(
        self, path: str, content: JsonObject, wishes: Mapping[str, str]
    ) -> Iterator[Iterator[bytes]]:
        """A streamed answer, as its bytes come; a model may think for minutes before the first."""
        body = msgspec.json.encode(content)
        headers = {"Content-Type": JSON, "X-Bizra-Explain": "1", **wishes}
        try:
            with self._http.stream(
                "POST", path, content=body, headers=headers, timeout=None
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refused(answer)
                yield answer.iter_raw()
        except httpx2.TransportError as error:
            raise unreachable(self.url, error, None) from None

    def add_content(self, pieces: Iterable[bytes]) -> ContentView:
        """Put bytes into the node's store, whatever their size."""
        with self._patient("POST", "/api/v2/contents", pieces) as answer:
            answer.read()
            return decoded(answer, ContentView)

    def fetch_content(self, name: str, source: str | None, *, keep: bool) -> Iterator[FetchView]:
        """Bring a content to the node; how far it is, again and again until the end."""
        wanted: JsonObject = {"keep": keep} if source is None else {"keep": keep, "from": source}
        path = f"/api/v2/contents/{path_part(name)}/fetch"
        with self._patient("POST", path, [msgspec.json.encode(wanted)]) as answer:
            for line in answer.iter_lines():
                yield msgspec.json.decode(line, type=FetchView)

    def read_content(self, name: str) -> Iterator[bytes]:
        """The bytes of a content that is here."""
        with self._patient("GET", f"/api/v2/contents/{path_part(name)}", ()) as answer:
            yield from answer.iter_raw()

    def watch_topics(self, pattern: str) -> Iterator[EventLine | int]:
        """What is published on topics that fit; a number says how many events were missed."""
        path = f"/api/v2/topics/watch?pattern={quote(pattern)}"
        with self._patient("GET", path, ()) as answer:
            for line in answer.iter_lines():
                if line.startswith('{"missed"'):
                    yield int(msgspec.json.decode(line)["missed"])
                elif line:
                    yield msgspec.json.decode(line, type=EventLine)

    def make_snapshot(self) -> SnapshotView:
        """Make one of the newest block; large states take their time."""
        with self._patient("POST", "/api/v2/snapshots", ()) as answer:
            answer.read()
            return decoded(answer, SnapshotView)

    def take_snapshot(self) -> int:
        """Take the newest from other members; the node then begins anew. Its height."""
        with self._patient("POST", "/api/v2/snapshots/take", ()) as answer:
            answer.read()
            return decoded(answer, _Height).height

    def read_snapshot(self, height: int) -> Iterator[bytes]:
        """One as a file, proof and state."""
        with self._patient("GET", f"/api/v2/snapshots/{height}", ()) as answer:
            yield from answer.iter_raw()

    @contextmanager
    def _patient(
        self, method: str, path: str, pieces: Iterable[bytes]
    ) -> Iterator[httpx2.Response]:
        """The owner's request whose body or answer may take its time; what is refused raises at once."""
        headers = {"Content-Type": BINARY} | self._owner()
        try:
            with self._http.stream(
                method, path, content=iter(pieces), headers=headers, timeout=None
            ) as answer:
                if not answer.is_success:
                    raise refusal(answer, answer.read())
                yield answer
        except httpx2.TransportError as error:
            raise unreachable(self.url, error, None) from None


class _Height(msgspec.Struct):
    height: int


class _OpenAiError(msgspec.Struct):
    message: str
    code: str | None = None


class _OpenAiProblem(msgspec.Struct):
    error: _OpenAiError


def _refused(response: httpx2.Response) -> RefusedError:
    """An answer of the doors for models that is an error."""
    try:
        told = msgspec.json.decode(response.content, type=_OpenAiProblem).error
    except msgspec.DecodeError:
        return RefusedError(response.status_code, "not_understood", f"HTTP {response.status_code}")
    return RefusedError(response.status_code, told.code or "failed", told.message)
