"""What a caller of a model gets when nothing can serve the request now: a refusal, or a place in the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.responses import Response

from inference.backend import BackendError
from inference.chat import Call, JsonObject
from node.foreman import QueueFullError, may_wait
from node.gateway.answering import Listener, Work
from node.gateway.backroom import Queueing
from node.gateway.openai_form import OpenAiError, QueueWish, error_of, queue_wish
from node.gateway.reads import json_response

Tell = Callable[[OpenAiError], Response]
"""An error in the form of the caller's protocol."""


class OrWait:
    """Around the work of one door."""

    def __init__(self, queue: Queueing | None, tell: Tell) -> None:
        self._queue, self._tell = queue, tell

    def __call__(self, call: Call, headers: Mapping[str, str], work: Work) -> Work:
        """The work, or where its caller would rather wait and nothing can serve it now, a place in the queue."""
        wish = None if self._queue is None else queue_wish(call, headers)
        call.body.pop("queue", None)
        if wish is None:
            return telling(work, self._tell)

        async def waiting(listener: Listener) -> Response | None:
            try:
                return await work(listener)
            except BackendError as error:
                if not may_wait(error):
                    return self._tell(error_of(error))
                return await self._enqueue(call, wish)

        return waiting

    async def _enqueue(self, call: Call, wish: QueueWish) -> Response:
        assert self._queue is not None
        try:
            entry = await self._queue.enqueue(
                call, priority=wish.priority, deadline_s=wish.deadline_s
            )
        except QueueFullError as error:
            full = OpenAiError(503, "queue_full", str(error), headers={"retry-after": "30"})
            return self._tell(full)
        name = entry.id.hex()
        place = f"/api/v2/queue/{name}"
        told_place: JsonObject = {
            "id": name,
            "object": "queue.request",
            "model": entry.model,
            "url": place,
        }
        told_place |= {"position": self._queue.position(entry), "deadline_ms": entry.deadline_ms}
        headers = {"location": place, "preference-applied": "respond-async"}
        return json_response(told_place, 202, headers)


def telling(work: Work, tell: Tell) -> Work:
    """The work with the failures of model servers in the caller's form."""

    async def told(listener: Listener) -> Response | None:
        try:
            return await work(listener)
        except BackendError as error:
            return tell(error_of(error))

    return told
