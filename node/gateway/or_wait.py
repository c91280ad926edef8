"""What a caller of a model gets when nothing can serve the request now: a refusal, or a place in the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.responses import Response

from inference.answer_cache import Asker
from inference.backend import BackendError
from inference.chat import Call, JsonObject
from node.gateway.answering import Listener, Work
from node.gateway.backroom import Queueing
from node.gateway.openai_form import OpenAiError, QueueWish, error_of, queue_wish
from node.gateway.reads import json_response
from node.gateway.turns import Turns
from node.work.foreman import QueueFullError, is_for_a_person, may_wait

Tell = Callable[[OpenAiError], Response]
"""An error in the form of the caller's protocol."""


class OrWait:
    """Around the work of one door; `turns` are those of all doors."""

    def __init__(self, queue: Queueing | None, turns: Turns, tell: Tell) -> None:
        self._queue, self._turns, self._tell = queue, turns, tell

    def __call__(self, call: Call, headers: Mapping[str, str], asker: Asker, work: Work) -> Work:
        """The work, or where its caller would rather wait and nothing can serve it now, a place in the queue."""
        wish = None if self._queue is None else queue_wish(call, headers)
        call.body.pop("queue", None)
        if wish is None:
            return self.or_tell(asker, work)

        async def waiting(listener: Listener) -> Response | None:
            try:
                return await work(listener)
            except BackendError as error:
                # What goes to a person is tried once more from the queue, and then stands there as escalated.
                if not may_wait(error) and not is_for_a_person(error):
                    raise
                return await self._enqueue(call, wish)

        return self.or_tell(asker, waiting)

    def or_tell(self, asker: Asker, work: Work) -> Work:
        """The work when it is its caller's turn, with what goes wrong in the caller's form."""

        async def told(listener: Listener) -> Response | None:
            try:
                self._turns.take(asker.tenant)
                try:
                    return await work(listener)
                finally:
                    self._turns.give_back(asker.tenant)
            except BackendError as error:
                return self._tell(error_of(error))
            except OpenAiError as error:
                return self._tell(error)

        return told

    async def _enqueue(self, call: Call, wish: QueueWish) -> Response:
        assert self._queue is not None
        try:
            entry = await self._queue.enqueue(
                call, priority=wish.priority, deadline_s=wish.deadline_s
            )
        except QueueFullError as error:
            raise OpenAiError(
                503, "queue_full", str(error), headers={"retry-after": "30"}
            ) from None
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
