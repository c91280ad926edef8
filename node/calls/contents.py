"""What takes its time on the way: contents, topics, snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import quote

import msgspec

from node.answers import decoded
from node.calls.base import Calls
from node.paths import path_part
from node.views.records import (
    ContentsView,
    ContentView,
    EventLine,
    FetchView,
    JsonObject,
    SnapshotsView,
    SnapshotView,
)


class ContentCalls(Calls):
    """Bodies and answers of any length."""

    def contents(self) -> ContentsView:
        """What is in the node's store."""
        return decoded(self._send("GET", "/api/v2/contents", owner=True), ContentsView)

    def add_content(self, pieces: Iterable[bytes]) -> ContentView:
        """Put bytes into the node's store, whatever their size."""
        with self._patient("POST", "/api/v2/contents", pieces) as answer:
            answer.read()
            return decoded(answer, ContentView)

    def remove_content(self, name: str) -> ContentView:
        """Forget a content here."""
        response = self._send("DELETE", f"/api/v2/contents/{path_part(name)}", owner=True)
        return decoded(response, ContentView)

    def fetch_content(self, name: str, source: str | None, *, keep: bool) -> Iterator[FetchView]:
        """Bring a content to the node; how far it is, again and again until the end."""
        wanted: JsonObject = {"keep": keep} if source is None else {"keep": keep, "from": source}
        path = f"/api/v2/contents/{path_part(name)}/fetch"
        with self._patient("POST", path, [msgspec.json.encode(wanted)]) as answer:
            if not answer.is_success:
                answer.read()
                decoded(answer, FetchView)
            for line in answer.iter_lines():
                yield msgspec.json.decode(line, type=FetchView)

    def read_content(self, name: str) -> Iterator[bytes]:
        """The bytes of a content that is here."""
        with self._patient("GET", f"/api/v2/contents/{path_part(name)}", ()) as answer:
            if not answer.is_success:
                answer.read()
                decoded(answer, ContentView)
            yield from answer.iter_raw()

    def publish(self, topic: str, payload: JsonObject) -> None:
        """Tell all members something on a topic."""
        self._post("/api/v2/topics", {"topic": topic, "payload": payload}, JsonObject)

    def watch_topics(self, pattern: str) -> Iterator[EventLine | int]:
        """What is published on topics that fit; a number says how many events were missed."""
        path = f"/api/v2/topics/watch?pattern={quote(pattern)}"
        with self._patient("GET", path, ()) as answer:
            if not answer.is_success:
                answer.read()
                decoded(answer, EventLine)
            for line in answer.iter_lines():
                if line.startswith('{"missed"'):
                    yield int(msgspec.json.decode(line)["missed"])
                elif line:
                    yield msgspec.json.decode(line, type=EventLine)

    def snapshots(self) -> SnapshotsView:
        """Those that this node can give to others."""
        return decoded(self._send("GET", "/api/v2/snapshots", owner=True), SnapshotsView)

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
            if not answer.is_success:
                answer.read()
                decoded(answer, SnapshotView)
            yield from answer.iter_raw()


class _Height(msgspec.Struct):
    height: int
