"""The senders of the benchmarks' load: who waits for something to send is never forgotten."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from node.bench.load import Outbox


async def test_each_sender_that_waits_is_woken_in_its_turn() -> None:
    outbox = Outbox()
    taken: list[tuple[str, list[bytes]]] = []

    async def sender(name: str) -> None:
        taken.append((name, await outbox.take()))

    async with trio.open_nursery() as nursery:
        for name in ("first", "second", "third"):
            nursery.start_soon(sender, name)
            await wait_all_tasks_blocked()
        for content in (b"a", b"b", b"c"):
            outbox.put([content])
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [content for _, content in taken] == [[b"a"], [b"b"], [b"c"]]
    assert {name for name, _ in taken} == {"first", "second", "third"}


async def test_what_a_sender_gives_back_goes_to_another() -> None:
    outbox = Outbox()
    taken: list[list[bytes]] = []

    async def other() -> None:
        taken.append(await outbox.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await wait_all_tasks_blocked()
        outbox.put([b"a"])
        batch = await outbox.take()  # sooner than the one that was woken
        await wait_all_tasks_blocked()
        assert not taken
        outbox.put(batch)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert taken == [[b"a"]]
