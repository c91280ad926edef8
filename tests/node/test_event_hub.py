from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import h11
import pytest
import trio
import trio.lowlevel

from consensus.operations.transactions import Transfer
from gossip.identity import Ed25519Signer
from node.chain import event_hub
from node.chain.event_hub import EventHub, Topic, Wish
from tests.node.alone import Alone, serving

BOB = Ed25519Signer(b"b" * 32)


@asynccontextmanager
async def heard(url: str, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    where = urlsplit(url)
    assert where.hostname is not None
    assert where.port is not None
    async with await trio.open_tcp_stream(where.hostname, where.port) as stream:
        connection = h11.Connection(h11.CLIENT)
        asked = h11.Request(
            method="GET",
            target=f"/api/v2/events{query}",
            headers=[("Host", where.netloc), *headers.items()],
        )
        await stream.send_all(connection.send(asked) + connection.send(h11.EndOfMessage()))
        yield Stream(stream, connection)


class Stream:
    """Server-sent events, taken apart."""

    def __init__(self, stream: trio.SocketStream, connection: h11.Connection) -> None:
        self._stream, self._connection = stream, connection
        self._rest = b""

    async def _line(self) -> str:
        while b"\n" not in self._rest:
            event = self._connection.next_event()
            if event is h11.NEED_DATA:
                self._connection.receive_data(await self._stream.receive_some())
            elif isinstance(event, h11.Response):
                assert (b"content-type", b"text/event-stream") in event.headers
            else:
                assert isinstance(event, h11.Data)
                self._rest += event.data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    async def take(self, count: int) -> list[dict[str, Any]]:
        """The next notices; each id stands in its data too."""
        taken: list[dict[str, Any]] = []
        name = None
        with trio.fail_after(10):
            while len(taken) < count:
                line = await self._line()
                if line.startswith("id: "):
                    name = line[4:]
                if line.startswith("data: "):
                    notice = json.loads(line[6:])
                    assert notice["cursor"] == name
                    taken.append(notice)
                    name = None
        return taken


async def subscribed(node: Alone, count: int = 1) -> None:
    """The request has arrived."""
    with trio.fail_after(10):
        while node.hub.subscribers < count:
            await trio.lowlevel.checkpoint()


async def test_a_transaction_goes_from_pending_to_finalized(home_path: Path) -> None:
    async with serving(home_path) as (node, url):
        transaction = node.sign(Transfer(BOB.node_id, 5))
        async with heard(url, f"?transaction={transaction.id.hex()}") as stream:
            await subscribed(node)
            await node.submit((transaction,))
            notices = await stream.take(3)
        assert [one["status"] for one in notices] == ["pending", "included", "finalized"]
        final = notices[-1]
        assert final["txHash"] == transaction.id.hex()
        block = node.engine.chain.block(1)
        assert block is not None
        assert (final["blockHash"], final["height"]) == (block.digest.hex(), 1)


async def test_who_asks_late_hears_first_where_a_transaction_stands(home_path: Path) -> None:
    async with serving(home_path) as (node, url):
        paid = node.execute(Transfer(BOB.node_id, 5))
        async with heard(url, f"?transaction={paid.id.hex()}") as stream:
            (notice,) = await stream.take(1)
        assert (notice["status"], notice["height"]) == ("finalized", 1)


async def test_an_account_hears_what_names_it_and_nothing_else(home_path: Path) -> None:
    async with (
        serving(home_path) as (node, url),
        heard(url, f"?account={BOB.node_id.hex()}") as stream,
    ):
        await subscribed(node)
        node.execute(Transfer(b"\x01" * 32, 5))
        paid = node.execute(Transfer(BOB.node_id, 5))
        notices = await stream.take(3)
        assert {one["txHash"] for one in notices} == {paid.id.hex()}


async def test_who_comes_back_misses_nothing_and_hears_nothing_twice(home_path: Path) -> None:
    async with serving(home_path) as (node, url):
        sent = [node.execute(Transfer(BOB.node_id, amount)).id.hex() for amount in range(1, 40)]
        async with heard(url, "?after=0") as stream:
            first = await stream.take(30)
        cursor = first[-1]["cursor"]
        async with heard(url, **{"Last-Event-ID": cursor}) as stream:
            rest = await stream.take(2 * 39 - 30)
            sent.append(node.execute(Transfer(BOB.node_id, 1)).id.hex())
            rest += [one for one in await stream.take(4) if one["cursor"]]
        told = [one["txHash"] for one in first + rest if one["event"] == "transaction"]
        assert told == sent


async def test_a_subscriber_that_does_not_read_is_cut_off_and_told_where_to_go_on(
    home_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "QUEUE_NOTICES", 5)
    node = Alone(home_path)
    hub = EventHub(node.chain_disk, node)
    node.listeners.append(hub.on_report)
    with (
        hub.subscribed(Wish(), None) as slow,
        hub.subscribed(Wish(Topic.TRANSACTION, bytes(32)), None) as other,
    ):
        node.execute(Transfer(BOB.node_id, 1))
        first = await slow.take()
        assert [one.kind for one in first] == ["transaction"] * 3 + ["block"]
        for _ in range(3):
            node.execute(Transfer(BOB.node_id, 1))
        (cut,) = await slow.take()
        assert json.loads(cut.body)["event"] == "cut"
        assert cut.cursor == first[-1].cursor
        other.offer(first[0])
        assert await other.take() == [first[0]]
    assert (hub.cut, hub.subscribers) == (1, 0)
    with hub.subscribed(Wish(), cut.cursor) as again:
        notices = await again.take()
    assert {one.cursor.height for one in notices if one.cursor} == {2, 3, 4}
    node.close()
