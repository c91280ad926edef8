"""Requests in the queue that all servers failed at, from the queue to a person's answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from gossip.codec import Digest
from inference.backends.router import ModelRouter
from inference.chat import Call, CallKind
from inference.waiting import Queued, QueueState
from node.foreman import A_PERSON, ForemanService
from node.store import LevelStore, StagedStore
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
