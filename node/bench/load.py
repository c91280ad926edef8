"""Clients in a closed loop: each has one signed transaction under way and sends the next when it knows it is final.

Signing is done beforehand, and HTTP is spoken by as little as it takes: these clients share the machine with the nodes
that are measured. What several clients send at the same moment shares one request, as a proxy in front of
them would do; the requests go to the nodes in turn. A transaction counts as final when a block with it has come from a
node's stream and the block's commit certificate has been checked.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import trio
import trio.lowlevel

from consensus.certificates import certificate_fault
from consensus.messages import CertifiedBlock, Transactions
from consensus.operations.transactions import Transaction
from consensus.quorum import ValidatorSet
from gossip.codec import Digest, decode, encode
from gossip.identity import Ed25519Verifier
from inference.backends.connections import Connection, Ended, NotHttp, Pool
from node.errors import NodeError

_MAX_BATCH = 1_000
_FAREWELL_S = 10
_CONNECT_S = 5.0
_ANSWER_S = 30.0
_ANY_BYTES = 2**60
_ACCEPTED = 202
_OK = 200
_SENT_BEFORE = {"duplicate", "bad_nonce"}
"""Refusals of what is sent once more: it waits there already, or is in a block."""


class LoadError(NodeError):
    """The load could not be applied as meant; figures would be wrong."""


@dataclass(slots=True)
class Measured:
    """What the clients saw."""

    latencies_s: list[float] = field(default_factory=list)
    finals: list[tuple[float, int]] = field(default_factory=list)
    """When a block with transactions of this load became known to be final, and how many they were."""
    blocks: int = 0
    began: float = 0.0
    ended: float = 0.0

    @property
    def seconds(self) -> float:
        """From the first submission to the last finality that counts."""
        return self.ended - self.began

    def percentile_ms(self, share: float) -> float:
        """The latency that this share of transactions does not exceed."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


class Outbox:
    """What waits to be sent. Whoever has nothing to send waits here, and none of them is forgotten."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._wake = trio.Event()

    def put(self, some: Iterable[bytes]) -> None:
        """Add these, and wake all who wait."""
        self._waiting += some
        self._wake.set()

    async def take(self) -> list[bytes]:
        """Wait until something waits to be sent, and take up to a batch of it."""
        while not self._waiting:
            if self._wake.is_set():  # otherwise others wait for this event already
                self._wake = trio.Event()
            await self._wake.wait()
        batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
        return batch


class Load:
    """`wallets[i]` yields the transactions of client i in the order of their nonces."""

    def __init__(
        self,
        urls: Sequence[str],
        wallets: Sequence[Iterable[Transaction]],
        members: ValidatorSet,
        chain: Digest,
    ) -> None:
        self._urls, self._members, self._chain = urls, members, chain
        self._wallets = [iter(wallet) for wallet in wallets]
        self._outbox = Outbox()
        self._under_way: dict[bytes, tuple[int, float, bytes]] = {}
        self._gone: set[str] = set()
        self._closed = False
        self._listening = trio.Event()
        self._idle = trio.Event()
        self._grown = trio.Event()
        self.measured = Measured()

    async def run(
        self,
        seconds: float,
        first_height: int,
        meanwhile: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Send for this long, or until `meanwhile` returns, then wait for what is still under way.

        Raises `LoadError`.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, first_height)
            for url in self._urls:
                nursery.start_soon(self._send, url)
            await self._listening.wait()
            self.measured.began = time.perf_counter()
            for client in range(len(self._wallets)):
                self._next(client)
            if meanwhile is None:
                await trio.sleep(seconds)
            else:
                await meanwhile()
            self._closed = True
            with trio.move_on_after(_FAREWELL_S):
                await self._idle.wait()
            nursery.cancel_scope.cancel()

    async def next_block(self) -> None:
        """Return when one more block with transactions of this load is final."""
        await self._grown.wait()

    def without(self, url: str) -> None:
        """Do without a node that is gone; what is under way goes to the others, as clients do that wait in vain."""
        self._gone.add(url)
        self._outbox.put(raw for _, _, raw in self._under_way.values())

    def _next(self, client: int) -> None:
        transaction = next(self._wallets[client], None)
        if transaction is None or self._closed:
            return
        self._under_way[transaction.id] = (client, time.perf_counter(), transaction.raw)
        self._outbox.put([transaction.raw])

    async def _send(self, url: str) -> None:
        pool = Pool(url, 1, _ANY_BYTES)
        try:
            while url not in self._gone:
                batch = await self._outbox.take()
                if url in self._gone:
                    self._give_back(batch)
                    return
                try:
                    await self._post(pool, url, batch)
                except (OSError, Ended, trio.TooSlowError):
                    self._gone.add(url)
                    self._give_back(batch)
                except NotHttp as error:
                    raise LoadError(f"{url} gave no answer: {error}") from None
        finally:
            pool.close()

    def _give_back(self, batch: list[bytes]) -> None:
        if len(self._gone) == len(self._urls):
            raise LoadError("no node answers any more")
        self._outbox.put(batch)

    async def _post(self, pool: Pool, url: str, batch: list[bytes]) -> None:
        body = encode(Transactions(tuple(batch)))
        with trio.fail_after(_ANSWER_S):
            connection = await pool.ask(
                _request("POST", url, "/api/v2/transactions/batch", body), _CONNECT_S
            )
            assert connection is not None, "one request at a time"
            try:
                answer = await _whole(connection)
            finally:
                pool.give_back(connection)
        refused = {one["code"] for one in json.loads(answer).get("refused", ())}
        if self._gone:
            refused -= _SENT_BEFORE
        if connection.status != _ACCEPTED or refused:
            told = answer[:300].decode("utf-8", "replace")
            raise LoadError(f"a batch of {len(batch)} was not taken: {told}")

    async def _listen(self, height: int) -> None:
        url = self._urls[0]
        pool = Pool(url, 1, _ANY_BYTES)
        try:
            path = f"/api/v2/blocks/stream?from={height}"
            connection = await pool.ask(_request("GET", url, path), _CONNECT_S)
            assert connection is not None, "one request at a time"
            try:
                await self._follow(connection)
            finally:
                pool.give_back(connection)
        except (OSError, Ended, NotHttp) as error:
            raise LoadError(f"{url} hands out no blocks: {error}") from None

    async def _follow(self, connection: Connection) -> None:
        if connection.status != _OK:
            raise LoadError(f"the stream of blocks was refused with status {connection.status}")
        self._listening.set()
        received = bytearray()
        while (piece := await connection.receive()) is not None:
            received += piece
            while len(received) >= 4 + int.from_bytes(received[:4], "big"):
                size = int.from_bytes(received[:4], "big")
                self._on_block(bytes(received[4 : 4 + size]))
                del received[: 4 + size]

    def _on_block(self, data: bytes) -> None:
        item = decode(data, CertifiedBlock)
        fault = certificate_fault(item.certificate, self._members, self._chain, Ed25519Verifier())
        if fault or item.certificate.ballot.digest != item.block.digest or item.block.malformed():
            raise LoadError(f"block {item.block.height} is not certified: {fault}")
        now = time.perf_counter()
        known = 0
        for transaction in item.block.transactions:
            under_way = self._under_way.pop(transaction.id, None)
            if under_way is not None:
                known += 1
                client, sent, _ = under_way
                self.measured.latencies_s.append(now - sent)
                self._next(client)
        if self._closed and not self._under_way:
            self._idle.set()
        self.measured.blocks += known > 0
        if known:
            self.measured.ended = now
            self.measured.finals.append((now, known))
            self._grown.set()
            self._grown = trio.Event()


def _request(method: str, url: str, path: str, body: bytes = b"") -> bytes:
    host = urlsplit(url).netloc
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _whole(connection: Connection) -> bytes:
    """The body of an answer. Raises as `Connection.receive` does."""
    parts = []
    while (part := await connection.receive()) is not None:
        parts.append(part)
    return b"".join(parts)
