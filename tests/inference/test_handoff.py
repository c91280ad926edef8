"""The hand-off's words over a real stream of the memory transport, and what a bad partner can do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from consensus.operations.transactions import (
    SignedReceipt,
    TaskReceipt,
    Usage,
    content_hash,
    sign_receipt,
)
from gossip.codec import encode
from gossip.identity import NodeId
from gossip.transport import MEMBER_LIMITS, Stream
from gossip.transport.memory import MemoryNetwork
from inference.handoff import (
    CHUNK_BYTES,
    MAX_CONTENT_BYTES,
    PROTOCOL,
    Accepted,
    Declined,
    Failed,
    Finished,
    HandoffError,
    Offer,
    Reply,
    receive_offer,
    receive_replies,
    send_offer,
    send_reply,
)
from tests.consensus.world import HashSigner

TASK = bytes(range(32))
ASKER, EXECUTOR = HashSigner("asker"), HashSigner("executor")
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7]

Say = Callable[[Stream], Awaitable[None]]


def receipt(output: bytes) -> SignedReceipt:
    body = TaskReceipt(
        chain=bytes(32),
        task=TASK,
        kind="embed",
        asker=ASKER.node_id,
        executor=EXECUTOR.node_id,
        input_hash=content_hash(b"in"),
        output_hash=content_hash(output),
        model_hash=bytes(32),
        usage=Usage(1, 2, 3),
        finished_at_ms=5,
        nonce=bytes(32),
    )
    return sign_receipt(EXECUTOR, body)


def finished(output: bytes) -> Finished:
    return Finished(receipt(output), len(output))


@asynccontextmanager
async def stream_to(say: Say) -> AsyncIterator[Stream]:
    """A stream to a partner that does `say` and then ends the stream."""

    async def served(peer: NodeId, stream: Stream) -> None:
        await say(stream)
        await stream.close()
        while await stream.receive() is not None:
            pass

    network = MemoryNetwork()
    ours = network.join(ASKER.node_id, lambda _: MEMBER_LIMITS)
    theirs = network.join(EXECUTOR.node_id, lambda _: MEMBER_LIMITS)
    theirs.serve(PROTOCOL, served)
    async with trio.open_nursery() as nursery:
        await nursery.start(ours.run)
        await nursery.start(theirs.run)
        await ours.dial(theirs.addresses()[0])
        with trio.fail_after(10):
            async with await ours.open_stream(EXECUTOR.node_id, PROTOCOL) as stream:
                yield stream
        nursery.cancel_scope.cancel()


def messages(*raw: bytes) -> Say:
    async def say(stream: Stream) -> None:
        for message in raw:
            await stream.send(message)

    return say


async def all_replies(stream: Stream) -> list[tuple[Reply, bytes]]:
    return [pair async for pair in receive_replies(stream)]


@pytest.mark.parametrize("size_bytes", SIZES)
async def test_an_offer_and_its_input_arrive_whole(size_bytes: int) -> None:
    content = bytes(at % 251 for at in range(size_bytes))
    offer = Offer(TASK, "embed", len(content))

    async def say(stream: Stream) -> None:
        await send_offer(stream, offer, content)

    async with stream_to(say) as stream:
        assert await receive_offer(stream) == (offer, content)


@pytest.mark.parametrize("size_bytes", SIZES)
async def test_replies_arrive_up_to_the_last_with_the_output(size_bytes: int) -> None:
    output = bytes(at % 241 for at in range(size_bytes))

    async def say(stream: Stream) -> None:
        await send_reply(stream, Accepted())
        await send_reply(stream, finished(output), output)
        await send_reply(stream, Failed("nobody listens any more"))

    async with stream_to(say) as stream:
        assert await all_replies(stream) == [(Accepted(), b""), (finished(output), output)]


@pytest.mark.parametrize("last", [Declined("no"), Failed("no")])
async def test_a_refusal_is_the_last_word(last: Reply) -> None:
    async with stream_to(messages(encode(last), b"rubbish")) as stream:
        assert await all_replies(stream) == [(last, b"")]


OFFER = encode(Offer(TASK, "embed", 10))
TOO_LARGE = encode(Offer(TASK, "embed", MAX_CONTENT_BYTES + 1))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ((), "ended the exchange early"),
        ((OFFER,), "did not come whole"),
        ((OFFER, b"12345"), "did not come whole"),
        ((OFFER, b"12345", b""), "did not come whole"),
        ((OFFER, b"12345", b"1234567"), "did not come whole"),
        ((TOO_LARGE, b"12345"), "something else"),
        ((encode(Accepted()),), "something else"),
        ((b"",), "something else"),
        ((b"\xc1\xff",), "something else"),
        ((b"\x91" * 5_000,), "something else"),
        ((encode(("offer", TASK[:31], "embed", 10)),), "something else"),
        ((encode(("offer", TASK, "", 10)),), "something else"),
        ((encode(("offer", TASK, "embed", -1)),), "something else"),
        ((encode(("offer", TASK, "embed", 10, 11)),), "something else"),
    ],
)
async def test_a_broken_offer_is_told_as_such(raw: tuple[bytes, ...], why: str) -> None:
    async with stream_to(messages(*raw)) as stream:
        with pytest.raises(HandoffError, match=why):
            await receive_offer(stream)


FINISHED = encode(finished(b"output"))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ((), "ended the exchange early"),
        ((encode(Accepted()),), "ended the exchange early"),
        ((encode(Accepted()), encode(Accepted())), "accepted twice"),
        ((FINISHED,), "did not come whole"),
        ((FINISHED, b"out"), "did not come whole"),
        ((FINISHED, b"output and more"), "did not come whole"),
        ((OFFER,), "something else"),
        ((encode(Failed("x" * 513)),), "something else"),
        ((encode(("finished", None, 3)),), "something else"),
        ((encode(Finished(receipt(b""), MAX_CONTENT_BYTES + 1)),), "something else"),
        ((encode({"accepted": 1}),), "something else"),
    ],
)
async def test_a_broken_reply_is_told_as_such(raw: tuple[bytes, ...], why: str) -> None:
    async with stream_to(messages(*raw)) as stream:
        with pytest.raises(HandoffError, match=why):
            await all_replies(stream)


async def test_nothing_is_taken_before_its_size_was_announced() -> None:
    """Ten bytes announced, a chunk of a megabyte sent: refused at the first chunk."""
    async with stream_to(messages(OFFER, bytes(CHUNK_BYTES), bytes(CHUNK_BYTES))) as stream:
        with pytest.raises(HandoffError, match="did not come whole"):
            await receive_offer(stream)
