"""The foreman core in its shell: drains the queue through the router, and has peers' answers looked at again."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
import trio

from gossip.codec import Digest
from gossip.effects import Store
from gossip.identity import NodeId
from inference.audit import Judgement
from inference.backend import BackendError
from inference.backends.router import GivenUp, ModelRouter, NoServerNow, Refused, UnknownModel
from inference.chat import AUTO, Call, CallKind, JsonObject
from inference.failures import FailureClass
from inference.foreman import Foreman, ForemanEvent, Forgiven, Judged, Started, TimerFired
from inference.forms import FormedAnswers, FormFailure, shape_wanted
from inference.selection import Verdict
from inference.spread import FollowPart, PlacePart
from inference.waiting import (
    Enqueue,
    GiveUp,
    NotServed,
    PlacesChanged,
    Queued,
    Serve,
    Served,
    TriedAgain,
    Withdrawn,
)
from node.driver import CoreDriver, now_ms
from node.rounds import next_round
from node.storage.store import StagedStore

log = structlog.get_logger(__name__)

DEADLINE_S: Final = 60 * 60
PRIORITY: Final = 5
_LOOK_S: Final = 1.0
A_PERSON: Final = "a person"
"""What stands in the place of the server where somebody answered an escalated request."""


class QueueFullError(Exception):
    """No more requests can wait; the text says why."""


class _Kept(msgspec.Struct, frozen=True):
    """What is kept of a request."""

    body: JsonObject
    options: JsonObject
    peers: bool
    quotes: bool


class ForemanService:
    """The queue and the trust book of one node."""

    def __init__(self, router: ModelRouter, store: StagedStore, nursery: trio.Nursery) -> None:
        self._router, self._nursery = router, nursery
        self._answers = FormedAnswers(router)
        self.core = Foreman(store)
        self._driver: CoreDriver[ForemanEvent] = CoreDriver(
            self.core.handle, TimerFired, self._carry_out, {Store.WORK: store}
        )
        self._running: dict[Digest, trio.CancelScope] = {}
        self._places: frozenset[str] = frozenset()
        self.on_spread: Callable[[PlacePart | FollowPart], None] = _nobody
        """Who hands parts in as tasks."""

    async def run(self) -> None:
        """Serve until cancelled."""
        self._driver.post(Started())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._driver.run)
            nursery.start_soon(self._look)

    async def _look(self) -> None:
        """Say which models can be asked; servers are probed only while somebody waits."""
        while True:
            if self.core.room.line():
                places = await self._models()
                if places != self._places:
                    self._places = places
                    self._driver.post(PlacesChanged(places))
            await next_round(_LOOK_S)

    async def _models(self) -> frozenset[str]:
        names = {model.id for model in await self._router.models(askable=True)}
        others = await self._router.writers()
        return frozenset(names | ({AUTO} if others else set()))

    def post(self, event: ForemanEvent) -> None:
        """Tell the core."""
        self._driver.post(event)

    async def caught_up(self) -> None:
        """Return when all that was posted before is handled and on disk."""
        await self._driver.caught_up()

    # The queue

    async def enqueue(self, call: Call, *, priority: int, deadline_s: int) -> Queued:
        """Let a request wait; returns when it is on disk. Raises `QueueFullError`."""
        kept = _Kept(call.body, call.options, call.peers, call.quotes)
        asked = msgspec.json.encode(kept)
        refusal = self.core.room.refusal(len(asked))
        if refusal is not None:
            raise QueueFullError(refusal)
        now = now_ms()
        entry = Queued(
            id=secrets.token_bytes(32),
            method=call.kind.value,
            model=call.model,
            priority=priority,
            since_ms=now,
            deadline_ms=now + 1000 * deadline_s,
            number=0,
            size_bytes=0,
        )
        self._driver.post(Enqueue(entry, asked))
        await self._driver.caught_up()
        return self.core.room.find(Digest(entry.id)) or entry

    def position(self, entry: Queued) -> int | None:
        """Where it stands, from 1; None once it does not wait any more."""
        return self.core.room.position(Digest(entry.id))

    async def withdraw(self, name: Digest) -> None:
        """Take a request out of the queue."""
        self._driver.post(Withdrawn(name))
        await self._driver.caught_up()

    async def try_again(self, name: Digest) -> None:
        """Let an escalated request wait for its model anew."""
        self._driver.post(TriedAgain(name))
        await self._driver.caught_up()

    async def answer(self, entry: Queued, text: str) -> None:
        """A person's own answer to an escalated request, in the form in which a model's would be kept."""
        is_chat = entry.method == CallKind.CHAT.value
        said = {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
        answer = {
            "id": f"person-{entry.id.hex()[:24]}",
            "object": "chat.completion" if is_chat else "text_completion",
            "created": now_ms() // 1000,
            "model": entry.model,
            "choices": [{"index": 0, **said, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        }
        self._driver.post(Served(Digest(entry.id), msgspec.json.encode(answer), A_PERSON))
        await self._driver.caught_up()

    # Trust

    def judged(self, peer: NodeId, judgement: Judgement) -> None:
        """An answer was compared."""
        self._driver.post(Judged(peer, judgement))

    async def forgive(self, peer: NodeId) -> None:
        """Begin anew with a peer."""
        self._driver.post(Forgiven(peer))
        await self._driver.caught_up()

    # Effects

    def _carry_out(self, effect: object) -> None:
        match effect:
            case PlacePart() | FollowPart():
                self.on_spread(effect)
            case Serve():
                self._nursery.start_soon(self._serve, effect)
            case GiveUp(name):
                scope = self._running.get(name)
                if scope is not None:
                    scope.cancel()
            case _:
                raise AssertionError(f"the foreman never asks for {effect!r}")

    async def _serve(self, effect: Serve) -> None:
        entry, name = effect.entry, Digest(effect.entry.id)
        kept = msgspec.json.decode(effect.asked, type=_Kept)
        kind = CallKind(entry.method)
        body = {key: value for key, value in kept.body.items() if key not in ("stream", "queue")}
        call = Call(kind, entry.model, body, kept.options, kept.peers, kept.quotes, waits=True)
        try:
            with trio.CancelScope() as scope:
                self._running[name] = scope
                answer, server = await self._ask(call)
                self._driver.post(Served(name, msgspec.json.encode(answer), server))
        except BackendError as error:
            waits, escalates = may_wait(error), is_for_a_person(error)
            tell = log.warning if escalates else log.info
            tell("a queued request was not served", id=name.hex(), reason=str(error))
            self._driver.post(NotServed(name, str(error), may_wait=waits, escalates=escalates))
        finally:
            self._running.pop(name, None)

    async def _ask(self, call: Call) -> tuple[JsonObject, str]:
        if call.kind is not CallKind.EMBED:
            routed = await self._answers.complete(call, shape_wanted(call))
            return routed.answer, routed.server
        vectors = await self._router.embed(call)
        rows = [
            {"object": "embedding", "index": at, "embedding": row}
            for at, row in enumerate(vectors.answer.rows)
        ]
        tokens = vectors.answer.prompt_tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {"object": "list", "data": rows, "model": vectors.model, "usage": usage}
        return answer, vectors.server


def _nobody(_: object) -> None:
    pass


def is_for_a_person(error: BackendError) -> bool:
    """Whether all servers failed at it in a way that asking again does not mend, by no fault of the caller's."""
    match error:
        case FormFailure():
            return True
        case GivenUp(failure=failure):
            return failure.kind is FailureClass.BACKEND
        case _:
            return False


def may_wait(error: BackendError) -> bool:
    """Whether what could not be served now may be served later."""
    match error:
        case NoServerNow():
            return True
        case UnknownModel(decision=decision):
            return any(one.verdict is Verdict.DOWN for one in decision.considered)
        case GivenUp(failure=failure):
            return failure.kind in (FailureClass.TRANSIENT, FailureClass.NETWORK)
        case Refused():
            return False
        case _:
            return False
