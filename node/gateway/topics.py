"""Topics over HTTP: publish to all members, and listen with wildcards. Both are the owner's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import ExitStack

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gossip.broadcast.messages import Publication
from gossip.broadcast.topics import Pattern, TopicError
from node.gateway.endpoint import Endpoint, Param
from node.gateway.fields import MAX_BODY_BYTES, Fields, read_body
from node.gateway.guard import OwnerCheck
from node.gateway.reads import json_response
from node.gateway.requests import PublishRequest
from node.peers.topics import TopicService
from node.views.facade import Facade, Problem
from node.views.records import EventLine, TopicView

_ALIVE_S = 15.0


class TopicDoor:
    """One method for each deed."""

    def __init__(self, facade: Facade, topics: TopicService, owner: OwnerCheck) -> None:
        self._facade, self._topics, self._owner = facade, topics, owner

    def endpoints(self) -> list[Endpoint]:
        """What is served under /api/v2/topics."""
        return [
            Endpoint(
                "POST",
                "/api/v2/topics",
                self.publish,
                "Tell all members something.",
                TopicView,
                202,
                (PublishRequest,),
                problems=((422, "bad_topic"),),
                owner=True,
                example={"topic": "weather/berlin", "payload": {"rain": True}},
            ),
            Endpoint(
                "GET",
                "/api/v2/topics/watch",
                self.watch,
                "What is published on topics that fit, a line of JSON each, as it comes.",
                None,
                params=(Param("pattern", "Which topics.", {"type": "string"}, "weather/**"),),
                problems=((400, "bad_pattern"),),
                owner=True,
                media="application/x-ndjson",
                timeout_s=None,
            ),
        ]

    async def publish(self, request: Request) -> Response:
        """Tell all members something on a topic; `payload` is any JSON object."""
        self._owner.require(request)
        fields = Fields(await read_body(request, MAX_BODY_BYTES), self._facade)
        topic, payload = fields.text("topic"), fields.object("payload")
        fields.done()
        try:
            self._topics.publish(topic, msgspec.json.encode(payload))
        except TopicError as error:
            raise Problem(422, "bad_topic", str(error)) from None
        return json_response(TopicView(topic=topic), 202)

    async def watch(self, request: Request) -> Response:
        """What is published on topics that fit `pattern` (all, if there is none), a line of JSON each.

        Empty lines show that the node is there. A line with `missed` says how many could not be told.
        """
        self._owner.require(request)
        pattern = request.query_params.get("pattern", "**")
        try:
            Pattern(pattern)
        except TopicError as error:
            raise Problem(400, "bad_pattern", str(error)) from None
        return StreamingResponse(self._lines(pattern), media_type="application/x-ndjson")

    async def _lines(self, pattern: str) -> AsyncIterator[bytes]:
        with ExitStack() as stack:
            listening = stack.enter_context(self._topics.listen(pattern))
            yield b"\n"
            while True:
                line = b"\n"
                with trio.move_on_after(_ALIVE_S):
                    line = _line(await listening.out_of.receive())
                missed = listening.take_missed()
                if missed:
                    yield msgspec.json.encode({"missed": missed}) + b"\n"
                yield line


def _line(publication: Publication) -> bytes:
    try:
        payload = json.loads(publication.payload)
    except ValueError:
        payload = publication.payload.hex()
    line = EventLine(
        topic=publication.topic,
        publisher=publication.publisher.hex(),
        event_id=f"{publication.publisher.hex()}-{publication.begun_ms}-{publication.number}",
        sent_ms=publication.sent_ms,
        payload=payload,
    )
    return msgspec.json.encode(line) + b"\n"
