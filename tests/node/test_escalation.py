"""Requests in the queue that all servers failed at, from the queue to a person's answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio
from starlette.responses import Response
from starlette.types import Message

from gossip.codec import Digest
from inference.answer_cache import Asker
from inference.backends.router import GivenUp, ModelRouter
from inference.chat import Call, CallKind
from inference.failures import Garbled
from inference.selection import Considered, Decision, Verdict
from inference.waiting import Queued, QueueState
from node.gateway.answering import Listener
from node.gateway.or_wait import OrWait
from node.gateway.turns import Turns
from node.storage.store import LevelStore, StagedStore
from node.work.foreman import A_PERSON, ForemanService
from tests.inference.servers import ModelServer, Raw, Speak, model_server
from tests.node.model_gateway import QUICK, reached

HTML = b"<html>not today</html>"
CALL = Call(CallKind.CHAT, "m", {"model": "m", "messages": [{"role": "user", "content": "hello"}]})


@asynccontextmanager
async def office(path: Path, server: ModelServer) -> AsyncIterator[ForemanService]:
    with LevelStore(path / "work", create=True) as disk:
        async with (
            ModelRouter([reached(server, "a")], on_breaker=lambda *_: None, policy=QUICK) as router,
            trio.open_nursery() as nursery,
        ):
            foreman = ForemanService(router, StagedStore(disk), nursery)
            nursery.start_soon(foreman.run)
            yield foreman
            nursery.cancel_scope.cancel()


async def until(foreman: ForemanService, entry: Queued, state: QueueState) -> Queued:
    with trio.fail_after(20):
        while True:
            found = foreman.core.room.find(Digest(entry.id))
            assert found is not None
            if found.state is state:
                return found
            await trio.sleep(0.05)


async def test_what_a_server_garbles_waits_for_a_person_who_may_retry_or_answer(
    tmp_path: Path,
) -> None:
    async with model_server() as server, office(tmp_path, server) as foreman:
        server.acts = [Raw(HTML), Raw(HTML), Speak()]
        one = await foreman.enqueue(CALL, priority=5, deadline_s=600)
        stopped = await until(foreman, one, QueueState.ESCALATED)
        assert "not JSON" in stopped.why
        await foreman.try_again(Digest(one.id))
        await until(foreman, one, QueueState.ESCALATED)
        await foreman.answer(stopped, "do it by hand")
        assert (await until(foreman, one, QueueState.DONE)).server == A_PERSON
        kept = foreman.core.room.answer(Digest(one.id))
        assert kept is not None
        said = msgspec.json.decode(kept)["choices"][0]
        assert said["message"]["content"] == "do it by hand"


async def test_the_form_that_was_asked_for_and_the_number_count_in_the_queue_too(
    tmp_path: Path,
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    call = msgspec.structs.replace(CALL, body={**CALL.body, "response_format": form, "n": 2})
    async with model_server() as server, office(tmp_path, server) as foreman:
        server.acts = [Speak(obeys=True)]
        good = await foreman.enqueue(call, priority=5, deadline_s=600)
        await until(foreman, good, QueueState.DONE)
        kept = foreman.core.room.answer(Digest(good.id))
        assert kept is not None
        choices = msgspec.json.decode(kept)["choices"]
        assert [one["message"]["content"] for one in choices] == ['{"a": 1}'] * 2
        server.acts = [Speak("no JSON at all")]
        bad = await foreman.enqueue(
            msgspec.structs.replace(call, body={**call.body, "n": 1}), priority=5, deadline_s=600
        )
        stopped = await until(foreman, bad, QueueState.ESCALATED)
        assert "not in the form" in stopped.why


async def test_who_would_rather_wait_is_not_refused_what_goes_to_a_person(tmp_path: Path) -> None:
    async with model_server() as server, office(tmp_path, server) as foreman:
        server.acts = [Raw(HTML)]
        door = OrWait(foreman, Turns(), lambda error: error.response())

        async def garbled(_: Listener) -> Response | None:
            failure = Garbled("it answered HTML")
            line = Considered("a", Verdict.FAILED, str(failure))
            raise GivenUp(Decision("m", (), (line,), is_known=True), failure, 1)

        listener = Listener(_nowhere)
        refused = await door(CALL, {}, Asker("a"), garbled)(listener)
        assert refused is not None
        assert refused.status_code == 502
        placed = await door(CALL, {"prefer": "respond-async"}, Asker("a"), garbled)(listener)
        assert placed is not None
        assert placed.status_code == 202
        (entry,) = foreman.core.room.all()
        await until(foreman, entry, QueueState.ESCALATED)


async def _nowhere(_: Message) -> None:
    raise AssertionError("nothing is streamed here")
