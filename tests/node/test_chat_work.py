"""A peer's conversation at its executor: refused with a reason, lent a slot, stopped, signed for in part."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from gossip.codec import Digest, decode_canonical
from inference.backend import TaskFailed
from inference.backends.openai import OpenAiServer
from inference.backends.router import ModelRouter
from inference.backends.servers import ServerSettings
from inference.chat_task import ChatInput, ChatOutput, encode_chat
from inference.selection import ServerKind
from node.models.files import ModelFiles
from node.models.servers import ModelServer as Settings
from node.work.chat_work import ChatWork
from tests.inference.servers import HangUp, ModelServer, Speak, model_server

TASK = Digest(bytes(32))
PRICE = 7


@dataclass
class Bench:
    work: ChatWork
    files: ModelFiles
    server: ModelServer
    file: str = ""
    news: trio.Event = field(default_factory=trio.Event)

    def asked(self, **more: object) -> bytes:
        fields = {
            "method": "chat",
            "model": "m",
            "file": self.file,
            "streamed": True,
            "proof": False,
            "request": '{"messages": []}',
        }
        return encode_chat(ChatInput(**{**fields, **more}))  # type: ignore[arg-type] # as given

    async def lines(self, least: int) -> list[str]:
        taken: list[str] = []
        while len(taken) < least:
            taken += self.work.take(TASK)
            await trio.lowlevel.checkpoint()
        return taken


@asynccontextmanager
async def bench(path: Path, *, slots: int = 1) -> AsyncIterator[Bench]:
    weights = path / "weights"
    weights.write_bytes(b"of a model")
    async with model_server() as server:
        server.file = str(weights)
        settings = Settings("here", server.url, "openai", slots=slots, price=PRICE)
        own = OpenAiServer(ServerSettings(name="here", url=server.url, kind=ServerKind.OPENAI))
        async with ModelRouter([own], on_breaker=lambda _name, _change: None) as router:
            files = ModelFiles((settings,), router)
            await files.look()
            made = Bench(ChatWork(router, files), files, server)
            ((_, made.file),) = files.models()
            yield made


async def test_only_the_named_file_for_its_price_and_while_a_slot_is_free(tmp_path: Path) -> None:
    async with bench(tmp_path) as here, trio.open_nursery() as nursery:
        assert here.work.unable(here.asked(), PRICE) is None
        for content, reward, told in (
            (here.asked(file="0" * 64), PRICE, "with the file 000000000000"),
            (here.asked(model="n"), PRICE, "no model 'n'"),
            (here.asked(), PRICE - 1, f"costs {PRICE}"),
            (here.asked(request="{}"), PRICE, "has no messages"),
            (b"garbage", PRICE, "not valid"),
        ):
            reason = here.work.unable(content, reward)
            assert reason is not None
            assert told in reason
        here.server.acts = [Speak("a b c", wait_after=1)]
        nursery.start_soon(_ignoring, here.work, here.asked())
        await here.server.waiting.wait()
        assert here.work.in_hand("m", here.file) == 1
        reason = here.work.unable(here.asked(), PRICE)
        assert reason is not None
        assert "all 1 slots" in reason
        nursery.cancel_scope.cancel()


async def _ignoring(work: ChatWork, content: bytes) -> None:
    await work.run(TASK, content, 60)


async def test_a_stop_reaches_the_server_and_what_was_sent_is_signed_for(tmp_path: Path) -> None:
    async with bench(tmp_path) as here, trio.open_nursery() as nursery:
        here.server.acts = [Speak("a b c", wait_after=2)]
        sent: list[str] = []

        async def stop() -> None:
            sent.extend(await here.lines(2))
            here.work.stop(TASK)

        nursery.start_soon(stop)
        result = await here.work.run(TASK, here.asked(), 60)
        await here.server.hung_up.wait()
        output = decode_canonical(result.output, ChatOutput)
        assert (list(output.lines), output.is_whole) == (sent, False)
        assert result.model_hash == here.file


async def test_the_usage_says_how_long_it_took(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        here.server.acts = [Speak("a b c", pause_ms=5)]
        result = await here.work.run(TASK, here.asked(), 60)
        assert result.usage.duration_ms > 0


async def test_a_stop_before_the_first_line_is_no_work(tmp_path: Path) -> None:
    async with bench(tmp_path) as here, trio.open_nursery() as nursery:
        here.server.acts = [Speak("a b c", wait_after=0)]

        async def run() -> None:
            with pytest.raises(TaskFailed, match="stopped"):
                await here.work.run(TASK, here.asked(), 60)
            nursery.cancel_scope.cancel()

        nursery.start_soon(run)
        await here.server.waiting.wait()
        here.work.stop(TASK)


async def test_a_servers_failure_is_told_so_that_the_asker_can_class_it(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        here.server.acts = [HangUp()]
        with trio.move_on_after(60), pytest.raises(TaskFailed, match=r"^backend_lost: "):
            await here.work.run(TASK, here.asked(streamed=False), 60)


async def test_a_file_that_changes_is_another_one(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        (tmp_path / "weights").write_bytes(b"of quite another model")
        await here.files.look()
        reason = here.work.unable(here.asked(), PRICE)
        assert reason is not None
        assert here.files.models() != (("m", here.file),)
