"""The wide doors for programs: many transactions in one request, and the chain as a stream of blocks. All binary.

`POST /api/v2/transactions/batch` takes the canonical bytes of `consensus.messages.Transactions`. Signatures are checked
beside the event loop, all of them before the first is offered. The WebSocket `/api/v2/transactions/stream` takes the
same in each message and answers each one.

`GET /api/v2/blocks/stream?from=HEIGHT` sends each final block from that height on as it comes: four bytes of length,
big-endian, then the canonical bytes of a `consensus.messages.CertifiedBlock`. A client checks one certificate a block.

`GET /api/v2/blocks/certified?from=HEIGHT` hands out past blocks page by page, those whose state a quorum has certified:
the canonical bytes of `consensus.messages.Blocks`, 64 at most and hardly more than 1 MiB but for one large block. An
auditor executes them again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket

from consensus.mempool import RefusalCode, Refused
from consensus.messages import Transactions
from consensus.operations.transactions import Transaction, decode_transaction
from gossip.codec import DecodeError, decode
from node.chain.signature_child import first_false
from node.chain.signatures import Signatures
from node.gateway.fields import query_number, read_body
from node.gateway.problems import BUSY, problem_body
from node.gateway.reads import json_response
from node.views.facade import Facade, Problem
from node.views.headers import HEIGHT
from node.views.records import BatchView, RefusalView

MAX_BATCH_BYTES = 8 * 1024 * 1024
_MAX_HEIGHT = 2**62
_MESSAGES_AHEAD = 16
_CHECKED_HERE = 4
"""Asking another process costs more, and the caller would wait for both."""
_DECODED_AT_ONCE = 200
"""A few milliseconds; then the other tasks get their turn."""


@dataclass(slots=True, eq=False)
class _Message:
    """One message of a stream of submissions on its way."""

    answer: bytes = b""
    offered: trio.Event = field(default_factory=trio.Event)
    done: trio.Event = field(default_factory=trio.Event)


class BlockFeed(Protocol):
    """Final blocks as they come."""

    def certified_block(self, height: int) -> bytes | None:
        """The canonical bytes of a `CertifiedBlock`; None while the block is not final."""

    async def until_durable(self, height: int) -> None:
        """Return when the block at this height is final and on disk."""

    @property
    def certified_heights(self) -> range:
        """The heights of the blocks that are here, on disk, and whose state a quorum has certified."""

    def certified_blocks(self, first: int) -> bytes:
        """Some of them from `first` on, as the canonical bytes of `consensus.messages.Blocks`."""


class Bulk:
    """One method for each wide door."""

    def __init__(self, facade: Facade, feed: BlockFeed, signatures: Signatures) -> None:
        self._facade, self._feed, self._signatures = facade, feed, signatures

    async def submit(self, request: Request) -> Response:
        """Take up to 2,000 signed transactions; says which ones were refused, and why."""
        body = await read_body(request, MAX_BATCH_BYTES)
        taken = await self._taken(body)
        is_busy = any(one.code in BUSY for one in taken.refused)
        return json_response(taken, 202, {"Retry-After": "1"} if is_busy else None)

    async def submissions(self, socket: WebSocket) -> None:
        """The same as a stream, `/api/v2/transactions/stream`: one answer for each binary message, in order.

        Signatures of several messages are checked at a time; what they hold is offered in their order.
        """
        await socket.accept()
        send, receive = trio.open_memory_channel[_Message](_MESSAGES_AHEAD)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._answer, socket, receive)
            before = _Message()
            before.offered.set()
            async with send:
                while (body := await _next_message(socket)) is not None:
                    message = _Message()
                    await send.send(message)
                    nursery.start_soon(self._take, body, message, before)
                    before = message
            nursery.cancel_scope.cancel()

    async def _take(self, body: bytes, message: _Message, before: _Message) -> None:
        try:
            transactions = await self._checked(body)
            await before.offered.wait()
            # Offering begins before the first pause, so the next message comes after this one.
            message.offered.set()
            message.answer = msgspec.json.encode(await self._offered(transactions))
        except Problem as problem:
            message.answer = problem_body(problem)
        finally:
            message.offered.set()
            message.done.set()

    async def _answer(
        self, socket: WebSocket, messages: trio.MemoryReceiveChannel[_Message]
    ) -> None:
        async for message in messages:
            await message.done.wait()
            await socket.send_text(message.answer.decode())

    async def _taken(self, body: bytes) -> BatchView:
        return await self._offered(await self._checked(body))

    async def _offered(self, transactions: tuple[Transaction, ...]) -> BatchView:
        answers = await self._facade.submit(transactions)
        refused = tuple(
            RefusalView(tx_hash=one.id.hex(), code=answer.code.value, reason=answer.reason)
            for one, answer in zip(transactions, answers, strict=True)
            if isinstance(answer, Refused) and answer.code is not RefusalCode.DUPLICATE
        )
        return BatchView(taken=len(transactions) - len(refused), refused=refused)

    async def _checked(self, body: bytes) -> tuple[Transaction, ...]:
        transactions: list[Transaction] = []
        try:
            raw = decode(body, Transactions).raw
            for at in range(0, len(raw), _DECODED_AT_ONCE):
                transactions += map(decode_transaction, raw[at : at + _DECODED_AT_ONCE])
                await trio.lowlevel.checkpoint()
        except DecodeError as error:
            raise Problem(
                400, "bad_batch", f"not the canonical bytes of transactions: {error}"
            ) from None
        index = await self._first_unsigned(transactions)
        if index is not None:
            raise Problem(
                422,
                "bad_signature",
                f"the transaction with index {index} is not signed by its sender; "
                "none of the batch was taken",
            )
        return tuple(transactions)

    async def _first_unsigned(self, transactions: Sequence[Transaction]) -> int | None:
        if len(transactions) > _CHECKED_HERE:
            return await self._signatures.first_unsigned(transactions)
        found = first_false(tuple(one.claim for one in transactions))
        return None if found == len(transactions) else found

    async def certified(self, request: Request) -> Response:
        """A page of blocks as they are stored, with their certificates."""
        first = query_number(request, "from", 1, _MAX_HEIGHT)
        heights = self._feed.certified_heights
        if first < heights.start:
            raise Problem(
                410,
                "cursor_gone",
                f"this node began with a snapshot of height {heights.start} and has no blocks below; "
                "ask a node that has all of them",
            )
        body = self._feed.certified_blocks(first)
        headers = {HEIGHT: str(heights.stop - 1)}
        return Response(body, 200, headers, media_type="application/octet-stream")

    async def stream(self, request: Request) -> Response:
        """Send blocks for as long as the caller listens."""
        first = query_number(request, "from", 1, _MAX_HEIGHT)
        return StreamingResponse(self._blocks(first), media_type="application/octet-stream")

    async def _blocks(self, height: int) -> AsyncIterator[bytes]:
        # The head leaves with the first piece, and a caller waits for it before it asks for anything.
        yield b""
        while True:
            await self._feed.until_durable(height)
            block = self._feed.certified_block(height)
            assert block is not None
            yield len(block).to_bytes(4, "big") + block
            height += 1


async def _next_message(socket: WebSocket) -> bytes | None:
    """None when the caller has gone; a text is no transactions."""
    received = await socket.receive()
    if received["type"] != "websocket.receive":
        return None
    return received.get("bytes") or b""
